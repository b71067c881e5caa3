"""One graph by `torch.onnx.export`, kept by content so that a second run does not export it again.

`dynamo=True` with opset 23 keeps attention and group normalisation as single nodes, which every runtime has fast
kernels for. The batch is free and traced with 2 rows, since the exporter takes a traced 1 for a constant.

The cache's key names everything an export depends on: the component's files, the part, its shapes, the versions of
what exports, and this package's own sources. An entry is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch.export import Dim

from bowerbird.compiler import parts, weights
from bowerbird.compiler.parts import Part, Shapes
from bowerbird.engine.bundle import digest_of

OPSET = 23
TRACED_ROWS = 2
MAX_BATCH = 64
GRAPH, EXTRAS = "graph.onnx", "extras.safetensors"

Extras = dict[str, NDArray[Any]]


class ExportCache:
    """Exported graphs by what they were exported from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> tuple[onnx.ModelProto, Extras] | None:
        """The weightless graph and its extra tensors, or None."""
        entry = self._folder / key
        if not entry.is_dir():
            return None
        extras = load_file(entry / EXTRAS)
        return onnx.load(entry / GRAPH, load_external_data=False), extras

    def keep(self, key: str, graph: onnx.ModelProto, extras: Extras) -> None:
        """Adds an entry; of two processes that export the same, the first one's stays."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            entry = Path(name) / "entry"
            entry.mkdir()
            (entry / GRAPH).write_bytes(graph.SerializeToString(deterministic=True))
            save_file(extras, entry / EXTRAS)
            if not (self._folder / key).exists():
                entry.rename(self._folder / key)


def cache_key(component_digest: str, part: Part, shapes: Shapes) -> str:
    """Names one export."""
    sources = [digest_of(Path(str(path))) for path in (parts.__file__, weights.__file__, __file__)]
    facts = [component_digest, part.role, astuple(shapes), torch.__version__, onnx.__version__, OPSET, sources]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def export(part: Part, component: Any, shapes: Shapes) -> onnx.ModelProto:
    """The part's graph with its weights inside."""
    module = part.wrap(component).eval()
    examples = part.examples(shapes, TRACED_ROWS, torch.Generator().manual_seed(0))
    batch = Dim("batch", min=1, max=MAX_BATCH)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module,
            examples,
            None,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamic_shapes=tuple({0: batch} for _ in examples),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    graph: onnx.ModelProto = program.model_proto
    _forget_origin(graph)
    return graph


def _forget_origin(graph: onnx.ModelProto) -> None:
    """Drops what the exporter says about the machine: stack traces with paths, and names of Python modules."""
    for node in graph.graph.node:
        del node.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own internals and logs to root; none of it is about the checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
