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
    """A runtime that can load graphs."""

    name: str

    def load(self, graph: Path) -> Session:
        """A session; raises BundleInvalid when the runtime cannot read the graph."""
        ...
