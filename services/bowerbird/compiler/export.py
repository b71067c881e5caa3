"""One graph by `torch.onnx.export`, kept by content so that a second run does not export it again.

`dynamo=True` with opset 23 keeps attention as one node, which every runtime has a fast kernel for, and group
normalisation, which `group_norm` writes in such nodes. The component is hollow (`loading.hollow`): its parameters
become inputs of the graph under their names, `holes`, which `weights.refer` closes. So a graph depends on a component's
config and not on its weights: the cache's key names the config, the part and its shapes, the versions of what exports,
and this package's own sources, and a fine-tuned checkpoint finds the graphs of the one it was trained from. An entry is
written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import Dim

from bowerbird.compiler.group_norm import write_out_group_norms
from bowerbird.compiler.parts import PICTURE_SIZE, Part, Shapes
from bowerbird.compiler.tensor_file import TensorReader, write_tensors
from bowerbird.compiler.weights import move_constants
from bowerbird.contracts import MAX_LORAS
from bowerbird.engine.bundle import digest_of

OPSET = 23
TRACED_ROWS = 2
"""The exporter takes a traced 1 for a constant."""
BOUNDS = {"batch": (1, 64), "loras": (1, MAX_LORAS), "slots": (2, 65), "rank": (1, 64)}
MAX_LATENT_SIDE = 512
CLIP_DIMENSIONS = 5
"""Of what has a row of frames: `[batch, frames, channels, height, width]`."""
MANY_PICTURES = 64
"""From so many on diffusers' `Upsample2D` takes another way."""
SOURCES = (
    "export", "families", "group_norm", "loading", "lora_graph", "modules", "parts", "stable_video", "weights",
)  # fmt: skip
TRACERS = ("torch", "onnx", "onnxscript", "onnx-ir", "diffusers", "transformers")
"""The libraries whose version may change a graph: whose layers are traced, and who traces and writes them."""
GRAPH, EXTRAS, HOLES = "graph.onnx", "extras.safetensors", "holes.json"


@dataclass(frozen=True, slots=True)
class Export:
    """A graph without weights, the large constants it references, and which tensor of the component fills each hole."""

    graph: onnx.ModelProto
    extras: dict[str, NDArray[Any]]
    holes: dict[str, str]


class Origin(Protocol):
    """Whose part is exported: the component's folder, which is the prefix of its tensors, and its config."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...


class ExportCache:
    """Exported graphs by what they were exported from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Export | None:
        """What was kept, or None."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        extras = TensorReader(entry / EXTRAS)
        return Export(
            onnx.load(entry / GRAPH, load_external_data=False),
            {name: extras.read(name) for name in extras.facts},
            json.loads((entry / HOLES).read_text()),
        )

    def text(self, sources: tuple[str, ...], facts: dict[str, Any], make: Callable[[], str]) -> str:
        """What `make` returns for these facts, or returned for them before; `sources` are the modules that make it."""
        entry = self.folder / f"{_digest([facts, _digests(sources), torch.__version__])}.txt"
        if not entry.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
                file.write(make())
            Path(file.name).replace(entry)
        return entry.read_text()

    def keep(self, key: str, export: Export) -> None:
        """Adds an entry; of two processes that export the same, the first one's stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            entry = Path(name) / "entry"
            entry.mkdir()
            (entry / GRAPH).write_bytes(export.graph.SerializeToString(deterministic=True))
            write_tensors(entry / EXTRAS, export.extras)
            (entry / HOLES).write_text(json.dumps(export.holes))
            if not (self.folder / key).exists():
                entry.rename(self.folder / key)


def cache_key(part: Part, component: nn.Module, of: Origin, shapes: Shapes) -> str:
    """Names one export of a hollow component: all its layers, the shapes it is traced with, and what traces it."""
    examples = part.examples(shapes, TRACED_ROWS, torch.Generator().manual_seed(0))
    ports = [(port, tuple(each.shape)) for port, each in zip(part.inputs, examples, strict=True)]
    free = {port: dict(names) for port, names in part.free.items()}
    multiples = [shapes.size_multiple, shapes.downscale] if len(free[part.inputs[0]]) > 1 else []
    facts = [
        of.name,
        dict(of.config),
        part.role,
        part.outputs,
        ports,
        free,
        multiples,
        repr(part.wrap(component)),
        OPSET,
    ]
    return _digest([facts, _digests(SOURCES), [version(library) for library in TRACERS]])


def _digests(sources: tuple[str, ...]) -> list[str]:
    return [digest_of(Path(__file__).with_name(f"{name}.py")) for name in sources]


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()


def export(part: Part, component: nn.Module, of: Origin, shapes: Shapes) -> Export:
    """The part of a hollow component."""
    module = part.wrap(component).eval()
    examples = part.examples(shapes, TRACED_ROWS, torch.Generator().manual_seed(0))
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module,
            examples,
            None,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=_dynamic_shapes(part, shapes, examples),
            optimize=False,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        holes = _open_holes(program)
        program.optimize()
    graph: onnx.ModelProto = program.model_proto
    _forget_origin(graph)
    write_out_group_norms(graph)
    _name_dimensions(graph, part)
    extras = move_constants(graph, part.role)
    keys = _keys(module, component, of.name)
    return Export(graph, extras, {hole: keys[hole] for hole in holes})


def _open_holes(program: Any) -> list[str]:
    """Makes inputs of the parameters, so that the optimizer folds what it knows and leaves them alone."""
    graph = program.model.graph
    holes = [
        value
        for value in graph.initializers.values()
        if isinstance(getattr(value.const_value, "raw", None), FakeTensor)
    ]
    for value in holes:
        del graph.initializers[value.name]
        value.const_value = None
        graph.inputs.append(value)
    return [str(value.name) for value in holes]


def _keys(module: nn.Module, component: nn.Module, name: str) -> dict[str, str]:
    """The wrapped module's name of each parameter -> the component's own, told by identity."""
    known = {id(value): f"{name}.{key}" for key, value in component.state_dict(keep_vars=True).items()}
    return {key: known[id(value)] for key, value in module.state_dict(keep_vars=True).items() if id(value) in known}


def _dynamic_shapes(part: Part, shapes: Shapes, examples: Sequence[torch.Tensor]) -> tuple[dict[int, Any], ...]:
    """Equal names are one Dim; sides are multiples of what the UNet halves, pictures `downscale` times the latents.

    A batch of clips has fewer rows, so that their frames are fewer than MANY_PICTURES: torch 2.13 would find that bound
    by itself, but fails where it is no whole number of rows.
    """
    frames = max(each.shape[1] if each.dim() == CLIP_DIMENSIONS else 1 for each in examples)
    rows = (MANY_PICTURES - 1) // frames
    bounds = BOUNDS | ({"batch": (1, rows)} if 1 < rows < BOUNDS["batch"][1] - 1 else {})
    dims: dict[str, Any] = {}
    for name in {name for names in part.free.values() for name in names.values()}:
        low, high = bounds.get(name, (1, MAX_LATENT_SIDE // shapes.size_multiple))
        dim = Dim(f"_{name}" if name not in BOUNDS else name, min=low, max=high)
        multiple = 1 if name in BOUNDS else shapes.size_multiple * (shapes.downscale if name in PICTURE_SIZE else 1)
        dims[name] = dim if multiple == 1 else multiple * dim
    return tuple({at: dims[name] for at, name in part.free.get(port, {}).items()} for port in part.inputs)


def _name_dimensions(graph: onnx.ModelProto, part: Part) -> None:
    """Gives free dimensions the part's names where the exporter wrote expressions (`8*_height`)."""
    names: dict[str, str] = {}
    for value in graph.graph.input:
        for at, name in part.free.get(value.name, {}).items():
            names[value.type.tensor_type.shape.dim[at].dim_param] = name
    for value in (*graph.graph.input, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    del graph.graph.value_info[:]


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
