"""A diffusers folder as it lies on disk: which components it has, of which classes, and where their weights are.

Torch-free: reading a checkpoint's facts must be quick, also for a command that then finds nothing to do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL_INDEX = "model_index.json"
FACTS = "bowerbird.json"
LINEAGE = "lineage.json"
CONFIGS = {"scheduler": "scheduler_config.json", "feature_extractor": "preprocessor_config.json"}
WEIGHT_STEMS = ("diffusion_pytorch_model", "model")


class CheckpointUnsupported(Exception):
    """The folder is not a diffusers checkpoint, or has a class that this compiler does not know."""


class Checkpoint:
    """A diffusers folder.

    Two optional files beside `model_index.json` say more: `bowerbird.json` (name, version, licence, default_steps,
    default_guidance_scale) and `lineage.json` (what it was trained on and how; copied into the bundle).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_json(folder / MODEL_INDEX)
        self._elsewhere: dict[str, Path] = {}
        self._joined: dict[str, tuple[dict[str, Any], list[Path]]] = {}
        self.facts = read_json(folder / FACTS) if (folder / FACTS).exists() else {}
        self.lineage = read_json(folder / LINEAGE) if (folder / LINEAGE).exists() else {}

    def add(self, component: str, folder: Path | None) -> None:
        """Names a component that lies elsewhere; its own config says its class. None leaves all as it is."""
        if folder is not None:
            self.index[component] = ["diffusers", str(read_json(folder / "config.json").get("_class_name"))]
            self._elsewhere[component] = folder

    def join(self, component: str, model_class: str, config: dict[str, Any], files: list[Path]) -> None:
        """Makes a component out of others: its class, its config, and the files that together hold its tensors."""
        self.index[component] = ["diffusers", model_class]
        self._joined[component] = (config, files)

    def is_joined(self, component: str) -> bool:
        """True for a component that was made out of others."""
        return component in self._joined

    def folder_of(self, component: str) -> Path:
        """Where the component's config and weights lie."""
        return self._elsewhere.get(component, self.folder / component)

    def class_of(self, component: str) -> str:
        """The class name that `model_index.json` states; raises CheckpointUnsupported when it has no such component."""
        if not self.has(component):
            raise CheckpointUnsupported(f"{self.folder / MODEL_INDEX} names no {component}.")
        return str(self.index[component][1])

    def has(self, component: str) -> bool:
        """True when `model_index.json` names this component, and not as absent."""
        entry = self.index.get(component)
        return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)

    def config(self, component: str) -> dict[str, Any]:
        """The component's own config."""
        if component in self._joined:
            return dict(self._joined[component][0])
        return read_json(self.folder_of(component) / CONFIGS.get(component, "config.json"))

    def weight_files(self, component: str) -> list[Path]:
        """The component's safetensors: one, or the shards that its index names; `.fp16` ones where there are no other.

        Pickles (`.bin`) are not read: they run code. Raises CheckpointUnsupported when there is nothing else.
        """
        if component in self._joined:
            return self._joined[component][1]
        for stem in WEIGHT_STEMS:
            for variant in ("", ".fp16"):
                folder = self.folder_of(component)
                index = folder / f"{stem}.safetensors.index{variant}.json"
                if index.exists():
                    return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
                whole = folder / f"{stem}{variant}.safetensors"
                if whole.exists():
                    return [whole]
        raise CheckpointUnsupported(f"{self.folder_of(component)} holds no safetensors.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises CheckpointUnsupported when there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointUnsupported(f"{path} is not a readable JSON file.") from error
    if not isinstance(document, dict):
        raise CheckpointUnsupported(f"{path} does not hold a JSON object.")
    return document
