"""Takes up a model folder as the start of a run: what `assembly` wrote, or `bowerbird restore` from a bundle.

Called by `bowerbird train fledgling --continue-from`. The committed bundle is the only copy of a model and holds
averaged half-precision weights without optimiser state; every stage can go on from those, with a fresh optimiser at the
old step.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from bowerbird.training.checkpoints import save_state

_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_WEIGHTS = "model.safetensors"


def adopt(model: Path, work: Path) -> dict[str, int]:
    """Write the states of all stages into `work` from the folder `model`; returns the step of each.

    States that `work` already holds are left alone: a run that has begun is ahead of the model it began with.
    """
    facts = json.loads((model / "lineage.json").read_text(encoding="utf-8"))
    steps: dict[str, int] = facts.get("steps", {})
    sources: dict[str, dict[str, Tensor]] = {
        "autoencoder": load_file(model / "vae" / _DIFFUSERS_WEIGHTS),
        "denoiser": {
            **_prefixed("unet.", load_file(model / "unet" / _DIFFUSERS_WEIGHTS)),
            **_prefixed("text.", load_file(model / "text_encoder" / _TRANSFORMERS_WEIGHTS)),
        },
    }
    if (model / "judge" / _TRANSFORMERS_WEIGHTS).exists():
        sources["judge"] = load_file(model / "judge" / _TRANSFORMERS_WEIGHTS)
    for stage, weights in sources.items():
        path = work / f"{stage}.pt"
        if not path.exists():
            save_state(path, {"step": steps.get(stage, 0), "average": weights})
    return steps


def _prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}
