"""The way back: a diffusers folder from a bundle, to go on training from the only committed copy of a model.

The weights file keeps the state dict's names behind each component's name, and `bundle.json` keeps the configs, so this
is only a matter of splitting. Torch-free. The weights come back as they are kept: fp16.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from bowerbird.compiler.checkpoint import FACTS, LINEAGE, MODEL_INDEX
from bowerbird.engine.bundle import TOKENIZER, WEIGHTS, Bundle

LIBRARIES = {"text_encoder": "transformers", "judge": "bowerbird"}
WEIGHT_FILES = {"text_encoder": "model.safetensors", "judge": "model.safetensors"}
DEFAULT_WEIGHT_FILE = "diffusion_pytorch_model.safetensors"


def restore(bundle: Bundle, target: Path) -> None:
    """Writes a diffusers folder that compiles to the same weights; raises FileExistsError when `target` exists."""
    target.mkdir(parents=True)
    manifest = bundle.manifest
    components = {part.component: part.model_class for part in manifest.parts.values()}
    for component in components:
        folder = target / component
        _write_json(folder / "config.json", manifest.configs[component])
        save_file(
            _tensors(bundle, component), folder / WEIGHT_FILES.get(component, DEFAULT_WEIGHT_FILE), {"format": "pt"}
        )
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        **{name: [LIBRARIES.get(name, "diffusers"), model_class] for name, model_class in components.items()},
    }
    if manifest.drawing is not None:
        index["scheduler"] = ["diffusers", manifest.drawing.sampler]
        _write_json(target / "scheduler" / "scheduler_config.json", manifest.configs["scheduler"])
    if manifest.judging is not None:
        _write_json(target / "judge" / "calibration.json", manifest.judging.calibration)
    if manifest.tokenizer is not None:
        (target / "tokenizer").mkdir()
        shutil.copyfile(bundle.path(TOKENIZER), target / "tokenizer" / TOKENIZER)
    _write_json(target / MODEL_INDEX, index)
    _write_json(target / FACTS, _facts(bundle))
    _write_json(target / LINEAGE, {**manifest.lineage, "restored_from": bundle.digest})


def _tensors(bundle: Bundle, component: str) -> dict[str, Any]:
    prefix = f"{component}."
    with safe_open(bundle.path(WEIGHTS), "numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - the file is no dictionary
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    facts: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
    }
    if manifest.drawing is not None:
        facts["default_steps"] = manifest.drawing.default_steps
        facts["default_guidance_scale"] = manifest.drawing.default_guidance_scale
    return facts


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
