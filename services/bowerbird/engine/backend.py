"""What runs a graph: the interface between the engine and a runtime.

The engine asks a `Backend` for a `Session` per part and calls it with NumPy arrays by port name; it knows nothing else
of a runtime. `cpu.CpuBackend` is the one there is; a GPU backend adds a class here and not a line in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Session(Protocol):
    """One loaded graph; may be called from several threads at once."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. The first dimension of every input and output is the batch."""
        ...


class Backend(Protocol):
    """A runtime that can load graphs.

    `efficient_rows` is the largest batch of the denoiser that pays here: a larger one delays its first frame and
    coarsens cancel without costing less per row.
    """

    name: str
    efficient_rows: int

    def load(self, graph: Path, *, rowwise: bool = False) -> Session:
        """A session; raises BundleInvalid when the runtime cannot read the graph.

        `rowwise` says that it will be run with batches, and allows the runtime to split them.
        """
        ...
