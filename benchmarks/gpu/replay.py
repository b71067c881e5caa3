"""One CUDA graph for each shape: a step of SDXL is some 2 500 kernels, and starting them one by one takes longer than
running them at 512 x 512.

Inputs live at fixed addresses and are copied in before a replay. All graphs share one memory pool, so an output holds
until the next replay of any of them: whoever keeps one clones it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 3


class Replay:
    """`work` captured for inputs of these shapes; on a CPU it is simply called."""

    def __init__(self, work: Callable[..., Any], inputs: tuple[Tensor, ...], pool: Any) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph() if pool is not None else None
        self._work = work
        if self._graph is not None:
            self._capture(pool)

    def _capture(self, pool: Any) -> None:
        assert self._graph is not None  # noqa: S101 - for the type checker
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._work(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(self._graph, pool=pool):
            self._outputs = self._work(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        """The outputs, valid until the next replay."""
        if self._graph is None:
            return self._work(*inputs)
        torch._foreach_copy_(self._inputs, list(inputs))
        self._graph.replay()
        return self._outputs
