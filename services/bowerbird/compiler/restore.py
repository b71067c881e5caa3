"""The way back: a diffusers folder from a bundle, to go on training from the only committed copy of a model.

The weights file keeps the state dict's names behind each component's name, and `bundle.json` keeps the configs, so this
is only a matter of splitting. Torch-free. The weights come back as they are kept: fp16 unless the bundle says
otherwise, and int8 as the fp16 it stands for.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bowerbird.compiler.animate_diff import MOTION_UNET
from bowerbird.compiler.checkpoint import CONFIGS, FACTS, LINEAGE, MODEL_INDEX
from bowerbird.compiler.precision import SCALE, restored
from bowerbird.compiler.stable_video import FEATURE_EXTRACTOR, VIDEO_UNET
from bowerbird.compiler.tensor_file import TensorFacts, TensorReader, TensorWriter
from bowerbird.engine.bundle import TOKENIZER, WEIGHTS, Bundle, Manifest

LIBRARIES = {
    "text_encoder": "transformers", "text_encoder_2": "transformers", "image_encoder": "transformers",
    "judge": "bowerbird",
}  # fmt: skip
WEIGHT_FILES = dict.fromkeys(LIBRARIES, "model.safetensors")
DEFAULT_WEIGHT_FILE = "diffusion_pytorch_model.safetensors"
TOKENIZERS = ("tokenizer", "tokenizer_2")
PIPELINES = {MOTION_UNET: "AnimateDiffPipeline", VIDEO_UNET: "StableVideoDiffusionPipeline"}
STILL_PIPELINES = {1: "StableDiffusionPipeline", 2: "StableDiffusionXLPipeline"}
"""By the number of text encoders."""


def restore(bundle: Bundle, target: Path) -> None:
    """Writes a diffusers folder that compiles to the same weights; raises FileExistsError when `target` exists."""
    target.mkdir(parents=True)
    manifest = bundle.manifest
    components = {part.component: part.model_class for part in manifest.parts.values()}
    for component in components:
        folder = target / component
        _write_json(folder / "config.json", manifest.configs[component])
        _write_weights(bundle, component, folder / WEIGHT_FILES.get(component, DEFAULT_WEIGHT_FILE))
    if manifest.drawing is not None:
        for name in CONFIGS.keys() & manifest.configs.keys():
            _write_json(target / name / CONFIGS[name], manifest.configs[name])
    if manifest.judging is not None:
        _write_json(target / "judge" / "calibration.json", manifest.judging.calibration)
    for name, (path, _) in zip(TOKENIZERS, bundle.tokenizers if manifest.tokenizer else [], strict=False):
        (target / name).mkdir()
        shutil.copyfile(path, target / name / TOKENIZER)
    _write_json(target / MODEL_INDEX, _index(manifest, components))
    _write_json(target / FACTS, _facts(bundle))
    _write_json(target / LINEAGE, {**manifest.lineage, "restored_from": bundle.digest})


def _index(manifest: Manifest, components: dict[str, str]) -> dict[str, Any]:
    encoders = sum(name.startswith("text_encoder") for name in components)
    unet = components.get("unet", "")
    index: dict[str, Any] = {
        "_class_name": PIPELINES.get(unet) or STILL_PIPELINES.get(encoders, STILL_PIPELINES[1]),
        **{name: [LIBRARIES.get(name, "diffusers"), model_class] for name, model_class in components.items()},
    }
    if FEATURE_EXTRACTOR in manifest.configs:
        index[FEATURE_EXTRACTOR] = ["transformers", "CLIPImageProcessor"]
    if unet == MOTION_UNET:
        index["motion_adapter"] = [None, None]  # it is in the UNet
    if manifest.drawing is not None:
        index["scheduler"] = ["diffusers", manifest.drawing.sampler]
        index |= {name: ["transformers", "CLIPTokenizer"] for name in TOKENIZERS[:encoders]}
        if encoders == 2:
            index["force_zeros_for_empty_prompt"] = manifest.drawing.zero_empty_negative
    return index


def _write_weights(bundle: Bundle, component: str, path: Path) -> None:
    """The component's tensors under its own names, one at a time; quantised ones become fp16 again."""
    weights, prefix = TensorReader(bundle.path(WEIGHTS)), f"{component}."
    names = {name: name.removeprefix(prefix) for name in weights.facts if name.startswith(prefix)}
    names = {name: key for name, key in names.items() if not name.endswith(SCALE) or name[: -len(SCALE)] not in names}
    quantised = {name for name in names if weights.facts[name].dtype == "I8" and name + SCALE in weights.facts}
    facts = {
        key: TensorFacts("F16", weights.facts[name].shape) if name in quantised else weights.facts[name]
        for name, key in names.items()
    }
    with TensorWriter(path, facts, {"format": "pt"}) as writer:
        for name, key in names.items():
            value = weights.read(name)
            if name in quantised:
                value = restored(name, {name: value, name + SCALE: weights.read(name + SCALE)}).astype(np.float16)
            writer.write(key, value)


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
        if manifest.drawing.motion is not None:
            facts["motion"] = manifest.drawing.motion.model_dump()
    return facts


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
