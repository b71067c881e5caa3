"""One safetensors file, written and read tensor by tensor: a model's weights are never in memory twice.

The names, types and shapes are stated first, which fixes where every tensor will lie; then tensors are written in any
order, as they are loaded. Larger types come first, so that each tensor is aligned to its type. Torch-free.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64), "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32), "I32": np.dtype(np.int32),
    "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16), "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8), "U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_),
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """Type, by safetensors' name, and shape."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> TensorFacts:
        """The facts of an array."""
        return cls(NAMES[array.dtype], array.shape)

    @property
    def bytes(self) -> int:
        """Length of the tensor's data."""
        return int(np.prod(self.shape, dtype=np.int64)) * DTYPES[self.dtype].itemsize


class TensorWriter:
    """A file of `tensors`; a context manager that raises ValueError at its end when one was not written."""

    def __init__(
        self, path: Path, tensors: Mapping[str, TensorFacts], metadata: Mapping[str, str] | None = None
    ) -> None:
        self._facts = dict(tensors)
        header, self.spans = _layout(self._facts, metadata or {})
        self._missing = set(self._facts)
        self._file = path.open("wb")
        self._file.write(len(header).to_bytes(8, "little") + header)
        self._file.truncate(8 + len(header) + sum(facts.bytes for facts in self._facts.values()))

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Puts a tensor in its place; raises ValueError when it is not of the stated type and shape."""
        if TensorFacts.of(array) != self._facts[name]:
            raise ValueError(f"{name} is {TensorFacts.of(array)}; {self._facts[name]} was stated.")
        self._file.seek(self.spans[name][0])
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # a buffer
        self._missing.discard(name)

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if kind is None and self._missing:
            raise ValueError(f"{len(self._missing)} tensors were not written, such as {min(self._missing)}.")


class TensorReader:
    """The tensors of a safetensors file, each read when asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        self._start = 8 + length
        header.pop("__metadata__", None)
        self._offsets = {name: tuple(each["data_offsets"]) for name, each in header.items()}
        self.facts = {name: TensorFacts(each["dtype"], tuple(each["shape"])) for name, each in header.items()}

    @property
    def spans(self) -> dict[str, Span]:
        """(offset from the file's start, length) in bytes of every tensor."""
        return {name: (self._start + begin, end - begin) for name, (begin, end) in self._offsets.items()}

    def read(self, name: str) -> NDArray[Any]:
        """One tensor, in memory of its own."""
        facts = self.facts[name]
        with self._path.open("rb") as file:
            file.seek(self._start + self._offsets[name][0])
            data = np.fromfile(file, np.uint8, facts.bytes)
        return data.view(DTYPES[facts.dtype]).reshape(facts.shape)


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> dict[str, Span]:
    """A whole file at once; returns every tensor's span."""
    with TensorWriter(path, {name: TensorFacts.of(array) for name, array in tensors.items()}, metadata) as writer:
        for name, array in tensors.items():
            writer.write(name, array)
    return writer.spans


def _layout(tensors: Mapping[str, TensorFacts], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Span]]:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offsets = dict(_offsets(tensors))
    for name, (begin, length) in offsets.items():
        facts = tensors[name]
        entries[name] = {"dtype": facts.dtype, "shape": facts.shape, "data_offsets": [begin, begin + length]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return header, {name: (8 + len(header) + begin, length) for name, (begin, length) in offsets.items()}


def _offsets(tensors: Mapping[str, TensorFacts]) -> Iterator[tuple[str, Span]]:
    offset = 0
    for name, facts in sorted(tensors.items(), key=lambda item: (-DTYPES[item[1].dtype].itemsize, item[0])):
        yield name, (offset, facts.bytes)
        offset += facts.bytes
