"""Training state on disk: written whole or not at all, found again by name.

Called by every stage. A killed run continues from the last file; a half-written file never replaces a good one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` atomically (a temporary file in the same folder, synced, then renamed)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The state in `path`, or None where there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def digest_of_weights(module: nn.Module) -> str:
    """sha256 of a module's weights, in hexadecimal; the same weights in another memory layout have the same digest."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def seed_step(seed: int, step: int) -> np.random.Generator:
    """Seed torch for one step and return NumPy's generator for it.

    Both are functions of (seed, step), so that a resumed run draws what an uninterrupted one would have drawn.
    """
    rng = np.random.default_rng((seed, step))
    torch.manual_seed(int(rng.integers(2**63 - 1)))
    return rng


class Average:
    """An exponential moving average of a module's parameters, warmed up: decay is min(`decay`, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take over saved averages; half precision is widened, so that small changes still add up."""
        self.weights = {name: value.to(self.weights[name]) for name, value in weights.items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` (counted from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            mine = self.weights[name]
            if mine.dtype.is_floating_point:
                mine.lerp_(value, share)
            else:
                mine.copy_(value)
