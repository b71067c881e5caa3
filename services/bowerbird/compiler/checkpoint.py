"""A diffusers folder as it lies on disk: which components it has, and the digest of what each was made of.

Torch-free: reading a checkpoint's facts must be quick, also for a command that then finds nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from bowerbird.engine.bundle import digest_of

MODEL_INDEX = "model_index.json"
FACTS = "bowerbird.json"
LINEAGE = "lineage.json"


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
        self.facts = read_json(folder / FACTS) if (folder / FACTS).exists() else {}
        self.lineage = read_json(folder / LINEAGE) if (folder / LINEAGE).exists() else {}

    def class_of(self, component: str) -> str:
        """The class name that `model_index.json` states; raises CheckpointUnsupported when it has no such component."""
        entry = self.index.get(component)
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
            raise CheckpointUnsupported(f"{self.folder / MODEL_INDEX} names no {component}.")
        return entry[1]

    def config(self, component: str) -> dict[str, Any]:
        """The component's own config."""
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        return read_json(self.folder / component / name)

    def digest(self, component: str) -> str:
        """sha256 over names and contents of the component's files: what an export depends on."""
        return digest_of_folder(self.folder / component)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises CheckpointUnsupported when there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointUnsupported(f"{path} is not a readable JSON file.") from error
    if not isinstance(document, dict):
        raise CheckpointUnsupported(f"{path} does not hold a JSON object.")
    return document


@cache
def digest_of_folder(folder: Path) -> str:
    """sha256 over the names and digests of a folder's files; a folder is expected not to change while we run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder)} {digest_of(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
