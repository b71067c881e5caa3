"""One LoRA file, read once and trusted only after every check.

`shelf` calls `read_lora`. Nothing is parsed before size and header are within bounds and, where a sidecar
`<id>.sha256` states one, the digest is right. A file is used whole or not at all: a module that this bundle cannot
place is named and refused, because leaving it out would draw something else than what its trainer saw.

The scale of a LoRA, alpha / rank (Hu et al., 2022), is folded into `up`. alpha is the tensor `<module>.alpha`
(kohya), else what diffusers writes into the file's metadata (`lora_adapter_metadata`), else the rank.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from bowerbird.contracts import LoraFacts
from bowerbird.engine.backend import Array, Floats
from bowerbird.engine.lora.names import SUFFIX, Kind, Names, Target
from bowerbird.errors import LoraInvalid

MAX_RANK = 64
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""kohya writes the frequency of every training tag into the metadata: some files have megabytes of it."""
MAX_SIDECAR_BYTES = 4096
MAX_MAGNITUDE = float(np.finfo(np.float16).max)
"""A bank on a GPU holds 16-bit floats."""
MAX_NAMED, MAX_NAME = 5, 120
"""Modules that a refusal names, and characters of each: names are the file's, and may be anything."""
ADAPTER_METADATA = "lora_adapter_metadata"
DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A file's matrices for one bank: down `[layers, rank, in]`, up `[layers, out, rank]` times alpha / rank.

    float32, and as the device wants them: a change of LoRA is one copy. Where a module has a smaller rank than the
    file, or is not touched, there are zeros.
    """

    down: Floats
    up: Floats


@dataclass(frozen=True, slots=True, eq=False)
class LoraFile:
    """A LoRA that fits the bundle; `rank` is its largest, `bytes` the file's size, `stacks` by role and bank's name."""

    id: str
    digest: str
    rank: int
    bytes: int
    stacks: Mapping[tuple[str, str], Stack] = field(repr=False)

    @property
    def roles(self) -> frozenset[str]:
        """The parts that it changes: `denoiser`, `text_encoder`, …"""
        return frozenset(role for role, _ in self.stacks)

    @property
    def resident_bytes(self) -> int:
        """What its matrices take in memory."""
        return sum(stack.down.nbytes + stack.up.nbytes for stack in self.stacks.values())

    def facts(self) -> LoraFacts:
        """What the catalogue says about it."""
        return LoraFacts(id=self.id, digest=self.digest, rank=self.rank, bytes=self.bytes)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """One module's matrices: down `[rank, in]`, up `[out, rank]`."""

    target: Target
    down: Floats
    up: Floats


class _Fault(Exception):
    """What is wrong with the file, without its name."""


def read_lora(path: Path, names: Names) -> LoraFile:
    """The file at `path`, whose stem is its id; raises LoraInvalid with the first fact that speaks against it."""
    try:
        content = _content(path, names.max_bytes(MAX_RANK) + MAX_HEADER_BYTES)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _compare_sidecar(path.with_suffix(".sha256"), digest)
        pairs = _pairs(*_parse(content), names)
    except _Fault as fault:
        raise LoraInvalid(f"The LoRA {path.stem} cannot be used: {fault}.", param="lora") from fault
    rank = max(len(pair.down) for pair in pairs)
    return LoraFile(path.stem, digest, rank, len(content), _stacks(pairs, rank))


def stated_rank(path: Path, names: Names) -> int:
    """The rank that a file's header states; 0 where `read_lora` would refuse it for its header, or for the rank."""
    if not path.is_file():  # a pipe would be waited for
        return 0
    rank = 0
    try:
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                found = names.find(key)
                if found is not None and found[1] == "down":
                    rank = max([rank, *file.get_slice(key).get_shape()[:1]])
    except (OSError, SafetensorError):
        return 0
    return rank if rank <= MAX_RANK else 0


def _content(path: Path, max_bytes: int) -> bytes:
    """All bytes, no more than stated: a file may still grow between a look at its size and the end of reading."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for
            raise _Fault("it is not a file")
        content = b""
        if facts.st_size <= max_bytes:
            with path.open("rb") as file:
                content = file.read(max_bytes + 1)
    except OSError as error:
        raise _Fault(f"it cannot be read ({error.strerror})") from error
    if max(facts.st_size, len(content)) > max_bytes:
        raise _Fault(f"it is larger than the {max_bytes} bytes that rank {MAX_RANK} takes in this model")
    return content


def _compare_sidecar(path: Path, digest: str) -> None:
    try:
        with path.open("rb") as file:
            stated = file.read(MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _Fault(f"{path.name} cannot be read ({error.strerror})") from error
    found = re.match(rb"(?:sha256:)?([0-9a-fA-F]{64})(?:\s|$)", stated)
    if not found:
        raise _Fault(f"{path.name} does not begin with a sha256")
    if f"sha256:{found[1].decode().lower()}" != digest:
        raise _Fault(f"its digest is {digest}, and {path.name} states another")


def _parse(content: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors by name, and what diffusers says about the adapter."""
    header_bytes = int.from_bytes(content[:8], "little")
    if len(content) < 8 or header_bytes > min(MAX_HEADER_BYTES, len(content) - 8):
        raise _Fault("it is truncated, or no safetensors file")
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
        metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__", {})
        adapter = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _Fault("it is truncated, or no safetensors file") from error
    if not isinstance(adapter, dict):
        raise _Fault(f"its {ADAPTER_METADATA} is not a JSON object")
    return {name: _tensor(name, facts) for name, facts in entries}, adapter


def _tensor(name: str, facts: Mapping[str, Any]) -> Array:
    """As it lies in the file; bfloat16 becomes float32, whose upper half it is."""
    if facts["dtype"] not in DTYPES:
        raise _Fault(f"{name[:MAX_NAME]} is {facts['dtype']}; {', '.join(sorted(DTYPES))} are read")
    values: Array = np.frombuffer(facts["data"], DTYPES[facts["dtype"]]).reshape(facts["shape"])
    return (values.astype("<u4") << 16).view("<f4") if facts["dtype"] == "BF16" else values


def _pairs(tensors: dict[str, Array], adapter: Mapping[str, Any], names: Names) -> tuple[_Pair, ...]:
    if not tensors:
        raise _Fault("it holds no tensors")
    placed: dict[Target, dict[Kind, Array]] = {}
    foreign = set()
    for key, value in tensors.items():
        found = names.find(key)
        if found is None:
            foreign.add(SUFFIX.sub("", key)[:MAX_NAME])
            continue
        target, kind = found
        if kind in placed.setdefault(target, {}):
            raise _Fault(f"it holds {target.module} of the {target.role} twice")
        placed[target][kind] = value
    if foreign:
        listed = ", ".join(sorted(foreign)[:MAX_NAMED])
        more = f" and {len(foreign) - MAX_NAMED} more" if len(foreign) > MAX_NAMED else ""
        raise _Fault(f"this model has no place for {len(foreign)} of its modules: {listed}{more}")
    scales = _Scales(adapter, names)
    return tuple(_pair(target, values, scales) for target, values in placed.items())


def _pair(target: Target, values: Mapping[Kind, Array], scales: _Scales) -> _Pair:
    where = f"{target.module} of the {target.role}"
    if not {"down", "up"} <= values.keys():
        raise _Fault(f"{where} lacks its {'up' if 'down' in values else 'down'} matrix")
    down, up = _matrix(values["down"]), _matrix(values["up"])
    rank = len(down) if down.ndim == 2 else 0
    if not 1 <= rank <= MAX_RANK:
        raise _Fault(f"{where} has rank {rank}; 1-{MAX_RANK} are accepted")
    fitting = (rank, target.bank.in_features), (target.bank.out_features, rank)
    if (down.shape, up.shape) != fitting:
        raise _Fault(f"{where} has matrices {down.shape} and {up.shape}; {fitting[0]} and {fitting[1]} fit")
    with np.errstate(over="ignore", invalid="ignore"):
        up = up * np.float32(scales.scale(target, rank, values.get("alpha")))
    for matrix in (down, up):
        if not (matrix.min() >= -MAX_MAGNITUDE and matrix.max() <= MAX_MAGNITUDE):  # NaN is neither
            raise _Fault(f"{where} holds values that are not finite, or beyond {MAX_MAGNITUDE:.0f}")
    return _Pair(target, down, up)


def _matrix(value: Array) -> Floats:
    """float32; of a 1x1 convolution without the two last dimensions."""
    if value.ndim == 4 and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    return value.astype(np.float32)


def _stacks(pairs: Sequence[_Pair], rank: int) -> dict[tuple[str, str], Stack]:
    stacks: dict[tuple[str, str], Stack] = {}
    for pair in pairs:
        bank, key = pair.target.bank, (pair.target.role, pair.target.bank.name)
        if key not in stacks:
            down = np.zeros((len(bank.modules), rank, bank.in_features), np.float32)
            up = np.zeros((len(bank.modules), bank.out_features, rank), np.float32)
            stacks[key] = Stack(down, up)
        stacks[key].down[pair.target.index, : len(pair.down)] = pair.down
        stacks[key].up[pair.target.index, :, : len(pair.down)] = pair.up
    return stacks


@dataclass(frozen=True, slots=True)
class _Scales:
    """alpha / rank of each module; alpha / sqrt(rank) where PEFT trained so (Kalajdzievski, 2023)."""

    adapter: Mapping[str, Any]
    names: Names

    def scale(self, target: Target, rank: int, alpha: Array | None) -> float:
        """Refuses what is not a plain LoRA, and an alpha that is no number."""
        stated = self._stated(target)
        if stated.get("use_dora"):
            raise _Fault("it is a DoRA, which is computed in another way")
        value: Any = stated.get("lora_alpha", rank)
        patterns = stated.get("alpha_pattern")
        for pattern, special in patterns.items() if isinstance(patterns, dict) else ():
            if f".{target.module}".endswith(f".{pattern.removeprefix('text_model.')}"):
                value = special
                break
        if alpha is not None:
            value = float(alpha.reshape(-1)[0]) if alpha.size == 1 else None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise _Fault(f"the alpha of {target.module} is not one finite number")
        return number / (math.sqrt(rank) if stated.get("use_rslora") else rank)

    def _stated(self, target: Target) -> dict[str, Any]:
        prefix = f"{self.names.components[target.role]}."
        return {key.removeprefix(prefix): value for key, value in self.adapter.items() if key.startswith(prefix)}
