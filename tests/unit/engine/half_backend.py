"""A GPU's fp16 without a GPU: rounded after every node, and with other last bits for every size of a batch.

What runs long is loaded as `compiler.halving.emulated` makes it. A GPU chooses kernels by a batch's shape, and they sum
in different orders: so what a batch answers is moved by one unit in the last place of fp16 here and there, where its
number of rows says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from bowerbird.compiler.halving import ROLES, emulated
from bowerbird.engine.backend import Array, Input, Session
from bowerbird.engine.backends.buckets import rows_of

from .gated_backend import GatedBackend

LAST_PLACE = 2.0**-10


class HalfSession:
    """One graph; of the same rows in a batch of the same size it makes the same bits, and of no other."""

    def __init__(self, inside: Session) -> None:
        self._inside = inside

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`."""
        rows = rows_of(inputs)
        return {name: _moved(value, rows) for name, value in self._inside.run(inputs).items()}


class HalfBackend(GatedBackend):
    """Open, and every batch is one run."""

    def __init__(self, efficient_rows: int = 4) -> None:
        super().__init__(efficient_rows=efficient_rows, gate_open=True)

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """The graph, or its emulation, which lies beside it while it is loaded, for the sake of its weights."""
        if graph.stem not in ROLES:
            return super().load(graph, rowwise=rowwise, key=key)
        rounding = graph.with_name(f"{graph.stem}_emulated.onnx")
        rounding.write_bytes(emulated(onnx.load(graph, load_external_data=False)).SerializeToString())
        try:
            return HalfSession(super().load(rounding, rowwise=rowwise, key=key))
        finally:
            rounding.unlink()


def _moved(value: Array, rows: int) -> Array:
    moves = np.random.default_rng(rows).integers(-1, 2, value.shape[1:]) * LAST_PLACE
    with np.errstate(over="ignore"):
        rounded: Array = (value * (1 + moves)).astype(np.float16).astype(np.float32)
    return rounded
