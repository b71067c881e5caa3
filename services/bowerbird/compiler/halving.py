"""The same part, computed in fp16: for NVIDIA's tensor cores, which do that twice as fast as TF32, on half the bytes.

`graphs` calls `halved` for what runs long (ROLES) when `--half` or `--backend cuda` asks for it. The new graph has
the ports of the old one, in float32, and the same weights, which it reads as they are kept instead of through a Cast.
Kept in float32 is what fp16 would spoil:

    what is made of a timestep, sizes or a guidance scale, up to its first matrix: sines of 999.5 x f
    sums over many numbers (SUMS), of which group norms are made (`group_norm`); the `stash_type` of layer norms says
    that they sum in float32 by themselves
    banks of LoRAs, until a row's slots are picked: a whole bank would be converted in every step

Attention stays one node. ONNX Runtime's CUDA kernel sums its softmax in float32 and refuses the attribute that would
ask for it (`softmax_precision`), so it is not set.

Why not onnxruntime.transformers.float16: of nodes that stay in float32 it rounds what goes from one to the next to
fp16, sines and all, and where two read the same value it writes two nodes of one name (1.31), which no runtime loads.
Torch-free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import onnx
from onnx import NodeProto, TensorProto, helper

from bowerbird.engine.bundle import MOTION

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
ROLES = ("denoiser", "denoiser_lora", MOTION, "decoder")
SCALARS = ("timestep", "time_ids", "guidance")
"""Ports whose values are far apart, or are made into angles."""
MATRICES = ("Conv", "Gemm", "MatMul")
SUMS = frozenset(
    {"CumSum", "InstanceNormalization", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Softmax"}
)
FULL = SUMS | {"Cast", "Range"}
"""What reads float32 wherever it stands; Range knows no fp16."""
FULL_INPUTS: Mapping[str, tuple[int, ...]] = {"Resize": (1, 2)}
"""Inputs that are float32 whatever the node computes in."""


def halved(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of the same ports and weights that computes in fp16."""
    return _with_nodes(graph, _Halving(graph).nodes())


def emulated(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A graph in float32 that rounds, or overflows, to fp16 wherever a GPU that runs the `halved` one stores a value.

    ONNX Runtime's CPU provider runs the halved one too, but has no kernels in fp16 for most of its nodes: it computes
    runs of them in float32, and so says little about what a GPU will answer.
    """
    halving = _Halving(graph)
    made: list[NodeProto] = []
    rounded: dict[str, str] = {}

    def as_rounded(name: str) -> str:
        if name not in rounded:
            rounded[name] = f"{name}.rounded"
            made.extend(_rounding(name, rounded[name]))
        return rounded[name]

    for index, node in enumerate(graph.graph.node):
        added = NodeProto()
        added.CopyFrom(node)
        if halving.is_weight(node):
            rounded[node.output[0]] = node.output[0]
        if not halving.computes_in_half(index, node):
            made.append(added)
            continue
        added.input[:] = [as_rounded(name) if half else name for name, half in halving.inputs(node)]
        made.append(added)
        for at, name in enumerate(node.output):
            if halving.is_float(name):
                added.output[at] = f"{name}.exact"
                made += _rounding(f"{name}.exact", name)
                rounded[name] = name
    return _with_nodes(graph, made)


class _Halving:
    """One walk over the nodes; `_half` and `_full` know what a value is called in the other type."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph.graph
        self._types = _types(graph)
        self._kept = _kept(graph.graph)
        self._stored = {each.name for each in graph.graph.initializer if each.data_type == HALF}
        self._half: dict[str, str] = {}
        self._full: dict[str, str] = {}
        self._made: list[NodeProto] = []

    def is_float(self, name: str) -> bool:
        """True for a value that is float32 in the graph as it was."""
        return bool(name) and self._types[name] == FLOAT

    def computes_in_half(self, index: int, node: NodeProto) -> bool:
        """True for a node that reads float32 and does not stay with it."""
        return index not in self._kept and node.op_type not in FULL and any(map(self.is_float, node.input))

    def is_weight(self, node: NodeProto) -> bool:
        """True for what makes float32 of a weight that is kept in fp16."""
        return node.op_type == "Cast" and node.input[0] in self._stored

    def inputs(self, node: NodeProto) -> list[tuple[str, bool]]:
        """Of a node that computes in fp16: each input, and whether it is read in fp16."""
        full = FULL_INPUTS.get(node.op_type, ())
        return [(name, at not in full and self.is_float(name)) for at, name in enumerate(node.input)]

    def nodes(self) -> list[NodeProto]:
        """What computes in fp16, in an order in which it can be computed."""
        for index, node in enumerate(self._graph.node):
            if self.is_weight(node):
                self._half[node.output[0]] = node.input[0]  # as it is kept
                self._made.append(node)
            elif self.computes_in_half(index, node):
                self._add_half(node)
            else:
                self._add(node, [self._as_full(name) for name in node.input])
        return self._made

    def _add_half(self, node: NodeProto) -> None:
        inputs = [self._as_half(name) if half else self._as_full(name) for name, half in self.inputs(node)]
        added = self._add(node, inputs)
        outputs = {output.name for output in self._graph.output}
        for at, name in enumerate(node.output):
            if not self.is_float(name):
                continue
            if name in outputs:
                added.output[at] = self._half[name] = f"{name}.half"
                self._made.append(_cast(f"{name}.half", name, FLOAT))
            else:
                self._half[name], self._full[name] = name, ""

    def _add(self, node: NodeProto, inputs: Iterable[str]) -> NodeProto:
        added = NodeProto()
        added.CopyFrom(node)
        added.input[:] = list(inputs)
        self._made.append(added)
        return added

    def _as_half(self, name: str) -> str:
        if name not in self._half:
            self._half[name] = f"{name}.half"
            self._made.append(_cast(name, self._half[name], HALF))
        return self._half[name]

    def _as_full(self, name: str) -> str:
        """Of a value that is fp16 now, its float32, made when it is first asked for."""
        if self._full.get(name) == "":
            self._full[name] = f"{name}.full"
            self._made.append(_cast(name, self._full[name], FLOAT))
        return self._full.get(name, name)


def _kept(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that stay in float32 for where they stand."""
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(index)
    ports = [value.name for value in graph.input]
    banks = [name for name in ports if name.startswith("lora_") and name.endswith(("_down", "_up"))]
    kept = {index for name in banks for index in readers[name]}
    front = [name for name in ports if name in SCALARS]
    while front:
        for index in readers[front.pop()]:
            if index not in kept and graph.node[index].op_type not in MATRICES:
                kept.add(index)
                front += graph.node[index].output
    return kept


def _types(graph: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value; what onnx cannot infer (GroupNormalization's, 1.23) is of its input's type."""
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {each.name: each.data_type for each in inferred.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in values}
    for node in inferred.node:
        like = node.input[1 if node.op_type == "Where" else 0] if node.input else ""
        for name in node.output:
            if not types.get(name):
                types[name] = types[like]
    return types


def _with_nodes(graph: onnx.ModelProto, nodes: list[NodeProto]) -> onnx.ModelProto:
    """A copy with these nodes instead, and of initialisers what they read."""
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    used = _used(nodes, [output.name for output in graph.graph.output])
    read = {name for node in used for name in node.input}
    kept = [each for each in graph.graph.initializer if each.name in read]
    for old, new in ((other.graph.node, used), (other.graph.initializer, kept), (other.graph.value_info, [])):
        del old[:]
        old.extend(new)
    return other


def _used(nodes: list[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """Without those that nothing reads: the weights as float32, mostly."""
    wanted, used = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            used.append(node)
    return used[::-1]


def _rounding(source: str, target: str) -> list[NodeProto]:
    return [_cast(source, f"{target}.fp16", HALF), _cast(f"{target}.fp16", target, FLOAT)]


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=to)
