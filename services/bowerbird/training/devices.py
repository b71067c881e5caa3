"""Where training computes: the GPU where there is one, else the CPU.

Called by every stage, once, when it makes its model; data then follow the model (`device_of`). What the stages write is
the same on both, so that a run can go on elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_HALF_PRODUCTS = ("avx512_bf16", "amx_bf16")


def training_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def has_half_products(place: torch.device) -> bool:
    """Whether bfloat16 products are instructions there; where they are not, oneDNN's way round costs more than float32.

    On a GPU they are taken as float32 (TF32 by PyTorch's own setting): its steps are not what a run waits for.
    """
    return place.type == "cpu" and any(map(torch.cpu.get_capabilities().get, _HALF_PRODUCTS))


@contextmanager
def half_products(place: torch.device) -> Iterator[None]:
    """What is computed within multiplies in bfloat16 where that is faster; weights, sums and losses stay float32.

    Attention is then computed by two plain products: the fused kernel's way back has no bfloat16 instructions on a CPU
    (PyTorch 2.15: 25 ms a layer of 16 frames against 3 ms in float32 and 4 ms this way).
    """
    if not has_half_products(place):
        yield
        return
    with torch.autocast(place.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield
