"""The graphs of one bundle in the making: exported, without their weights, each with the answers it must give.

`compiling` and `judging` add the components of a checkpoint one after the other (so that one is in memory at a time),
then write all graphs and the one file of weights, then compare what was written with what the components answered.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bowerbird.compiler.export import ExportCache, cache_key, export
from bowerbird.compiler.parity import Reference, compare_part, reference_of
from bowerbird.compiler.parts import Part, Shapes
from bowerbird.compiler.weights import as_stored, detach, link, write_weights
from bowerbird.engine.bundle import WEIGHTS, ParityFacts, PartFacts, Port
from bowerbird.engine.cpu import CpuBackend

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Component:
    """A loaded component: its folder's name (the prefix of its tensors), its class, and the digest of its files."""

    name: str
    model_class: str
    digest: str
    model: Any


@dataclass(slots=True)
class _Graph:
    part: Part
    component: str
    model_class: str
    graph: onnx.ModelProto
    reference: Reference


@dataclass(slots=True)
class Graphs:
    """Graphs by role and the tensors they will reference; `report` hears what is being done, in words."""

    shapes: Shapes
    cache: ExportCache
    report: Report
    _graphs: dict[str, _Graph] = field(default_factory=dict)
    _tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, component: Component, parts: Sequence[Part]) -> None:
        """Exports the component's parts, or finds them in the cache, and notes what they must answer.

        Raises CheckpointUnsupported when a weight does not fit into fp16.
        """
        rounded = copy.deepcopy(component.model).half().float()
        state = {f"{component.name}.{key}": value.numpy() for key, value in component.model.state_dict().items()}
        self._tensors |= {key: as_stored(key, value) for key, value in state.items()}
        for part in parts:
            graph = self._exported(component, part, state)
            reference = reference_of(part, component.model, rounded, self.shapes)
            self._graphs[part.role] = _Graph(part, component.name, component.model_class, graph, reference)

    def write(self, folder: Path) -> None:
        """Writes the weights, then the graphs that reference them."""
        self.report("writing weights and graphs")
        spans = write_weights(folder / WEIGHTS, self._tensors)
        self._tensors.clear()
        for role, each in self._graphs.items():
            link(each.graph, spans)
            (folder / _file(role)).write_bytes(each.graph.SerializeToString(deterministic=True))

    def compare(self, folder: Path) -> dict[str, ParityFacts]:
        """Runs every written graph; raises BundleDiffers when one does not answer as its component did."""
        figures = {}
        for role, each in self._graphs.items():
            self.report(f"{role}: comparing with {each.model_class}")
            figures[role] = compare_part(each.part, CpuBackend().load(folder / _file(role)), each.reference)
        return figures

    def facts(self) -> dict[str, PartFacts]:
        """What stands in `bundle.json` about each part."""
        return {
            role: PartFacts(
                graph=_file(role),
                inputs=[_port(value) for value in each.graph.graph.input],
                outputs=[_port(value) for value in each.graph.graph.output],
                component=each.component,
                model_class=each.model_class,
            )
            for role, each in self._graphs.items()
        }

    def _exported(self, component: Component, part: Part, state: dict[str, NDArray[Any]]) -> onnx.ModelProto:
        key = cache_key(component.digest, part, self.shapes)
        found = self.cache.find(key)
        self.report(f"{part.role}: {'found unchanged' if found else 'exporting'}")
        if found is None:
            graph = export(part, component.model, self.shapes)
            found = graph, detach(graph, part.role, state)
            self.cache.keep(key, *found)
        self._tensors |= found[1]
        return found[0]


def _file(role: str) -> str:
    return f"{role}.onnx"


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    dtype: Any = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return Port(name=value.name, dtype=dtype, shape=[each.dim_param or each.dim_value for each in tensor.shape.dim])
