"""Where training computes: the GPU where there is one, else the CPU.

Called by every stage, once, when it makes its model; data then follow the model (`device_of`). What the stages write is
the same on both, so that a run can go on elsewhere.
"""

from __future__ import annotations

import torch
from torch import nn


def training_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device
