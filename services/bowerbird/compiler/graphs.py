"""The graphs of one bundle in the making: exported, without their weights, each with the answers it must give.

`compiling` and `judging` hand over the components; then it goes in three passes, each with one thing in memory:

    export    every part of every component, from hollow components: what tensors there will be is known after it
    weigh     component by component: its weights into the one file, tensor by tensor; its answers to fixed inputs
    compare   graph by graph: the written one is run on the same inputs
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from bowerbird.compiler.export import Export, ExportCache, cache_key, export
from bowerbird.compiler.halving import ROLES, emulated, halved
from bowerbird.compiler.loading import give_back_freed_memory, release
from bowerbird.compiler.lora_graph import lora_part
from bowerbird.compiler.parity import (
    Outputs,
    Question,
    Reference,
    compare_half,
    compare_part,
    frugal_session,
    usual_question,
)
from bowerbird.compiler.parts import Part, Shapes, is_of_any_size
from bowerbird.compiler.precision import Storage, restored
from bowerbird.compiler.tensor_file import TensorFacts, TensorWriter
from bowerbird.compiler.weights import link, refer
from bowerbird.engine.backend import Backend, Session
from bowerbird.engine.bundle import WEIGHTS, LoraBank, PartFacts, Port, Precision
from bowerbird.engine.parity import HalfParity, ParityFacts

Report = Callable[[str], None]
QUICK_SECONDS = 60.0
LARGE_PARAMETERS = 10**9


@dataclass(frozen=True, slots=True)
class Component:
    """A component of a checkpoint: its folder's name (the prefix of its tensors), and its two forms as a module.

    `overflows` is what its makers say of it in fp16.
    """

    name: str
    model_class: str
    config: Mapping[str, Any]
    parts: tuple[Part, ...]
    hollow: Callable[[], nn.Module]
    load: Callable[[], nn.Module]
    takes_loras: bool = False
    overflows: bool = False


@dataclass(slots=True)
class _Graph:
    part: Part
    component: Component
    export: Export
    references: list[Reference] = field(default_factory=list)


@dataclass(slots=True)
class Graphs:
    """Graphs by role and what their weights will be; `report` hears what is being done, in words.

    `sizes` are the shapes of every size, the smallest first. `thorough` compares every size, however long it takes.
    `half` adds to what runs long a graph that computes in fp16.
    """

    sizes: Sequence[Shapes]
    precision: Precision
    cache: ExportCache
    report: Report
    thorough: bool = False
    half: bool = False
    lora: dict[str, list[LoraBank]] = field(default_factory=dict)
    half_parity: dict[str, HalfParity] = field(default_factory=dict)
    seconds_per_row: dict[str, float] = field(default_factory=dict)
    _graphs: dict[str, _Graph] = field(default_factory=dict)
    _tensors: dict[str, TensorFacts] = field(default_factory=dict)
    _storages: dict[str, Storage] = field(default_factory=dict)
    _parameters: dict[str, int] = field(default_factory=dict)

    def export(self, component: Component) -> None:
        """Exports the component's parts, or finds them in the cache."""
        hollow = component.hollow()
        storage = Storage(self.precision, _quantisable(component.name, hollow))
        self._storages[component.name] = storage
        self._parameters[component.name] = sum(each.numel() for each in hollow.parameters())
        for key, value in hollow.state_dict().items():
            facts = TensorFacts(_dtype(value), tuple(value.shape))
            self._tensors |= storage.facts(f"{component.name}.{key}", facts)
        for part in component.parts:
            self._add(component, part, hollow)
            if component.takes_loras:
                with_lora, banks = lora_part(part, hollow)
                if banks:
                    self.lora[part.role] = banks
                    self._add(component, with_lora, hollow)

    def weigh(self, components: Sequence[Component], folder: Path) -> None:
        """Writes the weights and the graphs that reference them, and notes what the graphs must answer.

        Raises CheckpointUnsupported when a weight cannot be kept in this precision.
        """
        with TensorWriter(folder / WEIGHTS, self._tensors) as writer:
            for graph in self._graphs.values():
                for key, value in graph.export.extras.items():
                    writer.write(key, value)
            for component in components:
                self.report(f"{component.name}: weights and reference answers")
                self._weigh(component, writer)
        for role, graph in self._graphs.items():
            link(graph.export.graph, writer.spans)
            _write(graph.export.graph, folder / _file(role))
            if self._has_half(role):
                _write(halved(graph.export.graph), folder / _half_file(role))

    def compare(self, folder: Path, backend: Backend) -> dict[str, ParityFacts]:
        """Runs every written graph; raises BundleDiffers when one does not answer as its component did.

        `half_parity` is known after it.
        """
        figures = {}
        for role, graph in self._graphs.items():
            self.report(f"{role}: comparing with {graph.component.model_class}")
            large = self._parameters[graph.component.name] > LARGE_PARAMETERS
            load = frugal_session if large else backend.load
            figures[role] = compare_part(graph.part, load(folder / _file(role)), graph.references)
            if self._has_half(role):
                self.report(f"{role}: comparing in fp16")
                self.half_parity[role] = self._compare_half(graph, folder, load)
            graph.references.clear()
            give_back_freed_memory()
        return figures

    def facts(self) -> dict[str, PartFacts]:
        """What stands in `bundle.json` about each part."""
        return {
            role: PartFacts(
                graph=_file(role),
                half=_half_file(role) if self._has_half(role) else None,
                inputs=[_port(value) for value in graph.export.graph.graph.input],
                outputs=[_port(value) for value in graph.export.graph.graph.output],
                component=graph.component.name,
                model_class=graph.component.model_class,
            )
            for role, graph in self._graphs.items()
        }

    def _has_half(self, role: str) -> bool:
        return self.half and role in ROLES and not self._graphs[role].component.overflows

    @staticmethod
    def _compare_half(graph: _Graph, folder: Path, load: Callable[[Path], Session]) -> HalfParity:
        """First the graph as it is written, then as a GPU will round."""
        role = graph.part.role
        compare_half(graph.part, load(folder / _half_file(role)), graph.references[:1])
        path = folder / "emulated.onnx"  # beside the weights, for as long as it runs
        _write(emulated(graph.export.graph), path)
        try:
            return compare_half(graph.part, load(path), graph.references)
        finally:
            path.unlink()

    def _add(self, component: Component, part: Part, hollow: nn.Module) -> None:
        key = cache_key(part, hollow, component, self.sizes[0])
        found = self.cache.find(key)
        self.report(f"{part.role}: {'found unchanged' if found else 'exporting'}")
        if found is None:
            found = export(part, hollow, component, self.sizes[0])
            self.cache.keep(key, replace(found, graph=copy.deepcopy(found.graph)))
        refer(found.graph, found.holes, self._storages[component.name])
        self._tensors |= {name: TensorFacts.of(value) for name, value in found.extras.items()}
        self._graphs[part.role] = _Graph(part, component, found)

    def _weigh(self, component: Component, writer: TensorWriter) -> None:
        """Loads the component once: asks it, rounds it where it lies and writes it, asks again if that changed it."""
        model, storage = component.load(), self._storages[component.name]
        questions = {role: self._questions(role, model) for role, g in self._graphs.items() if g.component is component}
        exact = {role: [self._answer(role, question, model) for question in asked] for role, asked in questions.items()}
        changed = False
        for key, tensor in model.state_dict().items():
            name = f"{component.name}.{key}"
            stored = storage.stored(name, tensor.numpy())
            for each, value in stored.items():
                writer.write(each, value)
            rounded = torch.from_numpy(restored(name, stored))
            if not torch.equal(tensor, rounded):
                tensor.copy_(rounded)
                changed = True
        for role, asked in questions.items():
            for question, answer in zip(asked, exact[role], strict=True):
                other = self._answer(role, question, model) if changed else answer
                self._graphs[role].references.append(Reference(question, answer, other))
        release(model)

    def _answer(self, role: str, question: Question, model: nn.Module) -> Outputs:
        answer, self.seconds_per_row[role] = question.ask(model)
        return answer

    def _questions(self, role: str, model: nn.Module) -> list[Question]:
        """Three inputs of the smallest size; one of each other size, unless that takes minutes."""
        part, smallest = self._graphs[role].part, self.sizes[0]
        questions = [usual_question(part, smallest)]
        if is_of_any_size(part) and len(self.sizes) > 1:
            _, seconds = Question(part, smallest, 1, 1).ask(model)
            questions += [
                Question(part, shapes, 1, 1)
                for shapes in self.sizes[1:]
                if self.thorough or seconds * _growth(smallest, shapes) < QUICK_SECONDS
            ]
        return questions


def _growth(smallest: Shapes, shapes: Shapes) -> float:
    """How much longer a row of another size takes: attention grows with the pixels' square, the rest with them."""
    ratio = shapes.latent_height * shapes.latent_width / (smallest.latent_height * smallest.latent_width)
    return float(ratio**1.5)


def _quantisable(name: str, model: nn.Module) -> frozenset[str]:
    """The keys of matrices and convolutions."""
    kinds = (nn.Linear, nn.Conv2d)
    return frozenset(f"{name}.{path}.weight" for path, each in model.named_modules() if isinstance(each, kinds))


def _dtype(value: torch.Tensor) -> str:
    names = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL", torch.uint8: "U8"}
    return names[value.dtype]


def _file(role: str) -> str:
    return f"{role}.onnx"


def _half_file(role: str) -> str:
    return f"{role}_fp16.onnx"


def _write(graph: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    dtype: Any = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return Port(name=value.name, dtype=dtype, shape=[each.dim_param or each.dim_value for each in tensor.shape.dim])
