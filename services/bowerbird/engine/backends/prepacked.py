"""A graph as ONNX Runtime makes it for this CPU, written once: optimised, weights packed for its kernels.

`cpu` keeps it in the cache and loads it memory-mapped: a worker's private memory holds hardly a weight, all workers
share one copy, and nothing is optimised at start. *Measured* (124 MB of weights in fp16): private memory 259 -> 10 MB,
load 0.47 -> 0.08 s of CPU; the results are the same bits.

ONNX Runtime 1.31 writes packed weights wherever the last one ended, and its kernels read them with instructions that
fault on an address that is no multiple of 64. So every tensor in the file must have such a size: those up to the
largest that has not (a mask of 77 x 77 bytes, say) stay in the graph.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime as ort

from bowerbird.engine.backends.onnx_runtime import CPU, open_session, session_options
from bowerbird.engine.bundle import unreplaced
from bowerbird.errors import BundleInvalid

GRAPH = "graph.onnx"
WEIGHTS = "weights.bin"
ALIGNMENT = 64
LEAST_BYTES = 1024
"""Of a tensor that is worth mapping."""
ATTEMPTS = 3

LENGTHS = re.compile(rb"\n\x06length\x12.(\d+)")
"""`external_data` of a tensor, key "length", as protobuf writes it."""
PACKED = re.compile(rb"\|(\d+);(\d+);\d+")
"""Packed weights in the same place: offset, size, checksum."""


def write_prepacked(graph: Path, folder: Path) -> None:
    """Writes GRAPH and WEIGHTS; the number of threads has no part in them (*measured*).

    Raises BundleInvalid when ONNX Runtime cannot load the graph, packs its weights so that they cannot be mapped, or
    the bundle is replaced while it is read: under the old one's name, a part of the new one would be kept for long.
    """
    with unreplaced(graph.parent):
        _write(graph, folder)


def _write(graph: Path, folder: Path) -> None:
    least_bytes = LEAST_BYTES
    for _ in range(ATTEMPTS):
        options = session_options(1, _entries(least_bytes))
        options.optimized_model_filepath = str(folder / GRAPH)
        open_session(graph, options, [CPU])
        uneven = _uneven(folder / GRAPH)
        if not uneven:
            open_prepacked(folder, session_options(1, {}))  # a disk that filled up is not reported in writing
            return
        least_bytes = max(uneven) + 1
    raise BundleInvalid(f"The packed weights of {graph} cannot be aligned to {ALIGNMENT} bytes.")


def open_prepacked(folder: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """A session on what `write_prepacked` wrote; raises as `open_session`."""
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(folder / GRAPH, options, [CPU])


def _entries(least_bytes: int) -> dict[str, str]:
    return {
        "session.optimized_model_external_initializers_file_name": WEIGHTS,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(least_bytes),
        "session.save_external_prepacked_constant_initializers": "1",
    }


def _uneven(graph: Path) -> list[int]:
    """Sizes and places in the file of weights that are no multiples of ALIGNMENT."""
    raw = graph.read_bytes()
    sizes = [int(size) for size in LENGTHS.findall(raw)]
    for offset, size in PACKED.findall(raw):
        sizes += [int(size)] if int(offset) % ALIGNMENT == 0 else [ALIGNMENT + 1]
    return [size for size in sizes if size % ALIGNMENT]
