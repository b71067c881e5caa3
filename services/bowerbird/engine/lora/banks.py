"""LoRAs on the device, ready for any row of any batch.

The scheduler acquires the LoRAs of a request before its first step, asks for the inputs of every batch, and releases
them when the last step is done or nobody waits any more. Per bank of the bundle there are two resident arrays, down
`[slots + 1, layers, rank, in]` and up `[slots + 1, layers, out, rank]`; slot 0 is zeros, so a row without LoRA (or with
fewer than its batch mates) reads that.

All LoRAs of a role share one rank, the smallest of `RANKS` that the largest so far needs, the others are padded with
zeros: a batch is one product whatever its rows carry. A larger LoRA makes the arrays grow, once; they never shrink,
since a rank that was asked for will be asked for again and every new shape costs the runtime a preparation. Rank 64
computes four times what rank 16 does, which is why the arrays do not simply begin with it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bowerbird.contracts import MAX_LORAS
from bowerbird.engine.backend import Array, Backend, Input, Resident
from bowerbird.engine.bundle import Bundle, LoraBank
from bowerbird.engine.lora.files import MAX_RANK, LoraFile, Stack
from bowerbird.engine.lora.slots import Slots
from bowerbird.errors import RequestInvalid

RANKS = (4, 8, 16, 32, MAX_RANK)
COUNTS = (1, 2, MAX_LORAS)
"""LoRAs a row has room for; few numbers, because a runtime prepares itself for each shape."""

STATIC_RANKS, STATIC_COUNTS = (16, MAX_RANK), (MAX_LORAS,)
"""TensorRT builds an engine per shape, in minutes."""


def bank_bytes(bundle: Bundle, backend: Backend, slots: int, rank: int) -> int:
    """What the banks of all roles take on the device, with room for `slots` LoRAs of this rank."""
    room = _room_for(rank, _ranks(backend))
    total = 0
    for role, banks in bundle.manifest.lora.items():
        for bank in banks:
            numbers = (slots + 1) * len(bank.modules) * room * (bank.in_features + bank.out_features)
            total += numbers * _dtype(bundle, role, bank).itemsize
    return total


@dataclass(frozen=True, slots=True, eq=False)
class LoraRow:
    """The LoRAs of a request's rows, pinned: slot, weight, digest of each, and the roles that it touches."""

    slots: tuple[int, ...]
    weights: tuple[float, ...]
    digests: tuple[str, ...]
    touches: tuple[frozenset[str], ...]

    @property
    def roles(self) -> frozenset[str]:
        """The parts that at least one of them changes."""
        return frozenset[str]().union(*self.touches)

    @property
    def digest(self) -> str:
        """Names what they do together: sha256 over digests and weights, in their order."""
        lines = [f"{digest} {weight!r}" for digest, weight in zip(self.digests, self.weights, strict=True)]
        return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"

    def key(self, role: str) -> tuple[tuple[str, float], ...]:
        """Digest and weight of those that change `role`; empty when none does, and the plain graph computes it."""
        each = zip(self.digests, self.weights, self.touches, strict=True)
        return tuple((digest, weight) for digest, weight, touched in each if role in touched)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A role's arrays by port; `rank` is what they have room for."""

    rank: int
    arrays: Mapping[str, Resident]


class LoraBanks:
    """The slots of one bundle on one backend.

    The event loop and the computing thread may call at once; `inputs` does not wait for a LoRA that is being copied.
    """

    def __init__(self, bundle: Bundle, backend: Backend, slots: int, *, fixed: bool = False) -> None:
        """With `fixed`, arrays have one shape whatever the rows carry and whichever LoRAs came before."""
        self._bundle = bundle
        self._backend = backend
        self._slots = Slots(slots)
        self._files: dict[int, LoraFile] = {}  # by slot: larger arrays are filled from them
        self._loaded: dict[str, _Loaded] = {}
        self._rows: set[LoraRow] = set()
        self._book = threading.Lock()  # slots and rows; held for moments
        self._loading = threading.RLock()  # files and arrays; held while matrices are copied
        self._ranks = (MAX_RANK,) if fixed else _ranks(backend)
        self._counts: tuple[int, ...] = STATIC_COUNTS if fixed or backend.name == "tensorrt" else COUNTS

    @property
    def max_rank(self) -> int:
        """The largest rank that is accepted; 0 when the bundle was compiled without LoRA."""
        return MAX_RANK if self._bundle.manifest.lora else 0

    @property
    def blank(self) -> LoraRow:
        """A LoRA that changes nothing, of which nothing need be acquired: to warm up with."""
        return LoraRow(slots=(0,), weights=(0.0,), digests=("",), touches=(frozenset(self._bundle.manifest.lora),))

    def prepare(self, rank: int) -> None:
        """Makes room for LoRAs of this rank in every role ahead, so that no request waits for it."""
        for role in self._bundle.manifest.lora:
            self._with_room(role, _room_for(rank, self._ranks))

    def acquire(self, uses: Sequence[tuple[LoraFile, float]]) -> LoraRow:
        """Pins each LoRA, copied to the device where it is not there yet; a weight of 0 is no LoRA.

        Raises StageFull when rows in flight have pinned every slot, RequestInvalid when the slots would never do.
        """
        uses = [(file, weight) for file, weight in uses if weight != 0]
        if len({file.digest for file, _ in uses}) > self._slots.count:
            raise RequestInvalid(f"This model keeps {self._slots.count} LoRAs at a time.", param="lora")
        slots: list[int] = []
        with self._loading:
            try:
                for file, _ in uses:
                    slots.append(self._seat(file))
            except BaseException:
                self._unpin(slots)
                raise
        row = LoraRow(
            slots=tuple(slots),
            weights=tuple(weight for _, weight in uses),
            digests=tuple(file.digest for file, _ in uses),
            touches=tuple(file.roles for file, _ in uses),
        )
        with self._book:
            self._rows.add(row)
        return row

    def release(self, row: LoraRow) -> None:
        """Unpins what `acquire` pinned; a second time does nothing."""
        with self._book:
            if row not in self._rows:
                return
            self._rows.remove(row)
        self._unpin(row.slots)

    def inputs(self, role: str, rows: Sequence[LoraRow | None]) -> dict[str, Input]:
        """Every `lora_…` input of `<role>_lora` for a batch: slots int64 and weights float32 [batch, loras], and banks.

        All rows must be acquired. `loras` is 1, 2 or 4.
        """
        picked = [list(_picked(row, role)) if row else [] for row in rows]
        count = next(each for each in self._counts if each >= max(map(len, picked), default=0))
        slots = np.zeros((len(rows), count), np.int64)
        weights = np.zeros((len(rows), count), np.float32)
        for number, pairs in enumerate(picked):
            for place, (slot, weight) in enumerate(pairs):
                slots[number, place], weights[number, place] = slot, weight
        loaded = self._loaded.get(role) or self._with_room(role, self._ranks[0])
        return {"lora_slots": slots, "lora_weights": weights, **loaded.arrays}

    def _seat(self, file: LoraFile) -> int:
        """A pinned slot that holds the file."""
        with self._book:
            slot, new = self._slots.pin(file.digest)
        if new:
            try:
                self._load(slot, file)
            except BaseException:
                self._files.pop(slot, None)
                with self._book:
                    self._slots.drop(slot)
                raise
        return slot

    def _unpin(self, slots: Sequence[int]) -> None:
        with self._book:
            for slot in slots:
                self._slots.unpin(slot)

    def _load(self, slot: int, file: LoraFile) -> None:
        self._files[slot] = file
        rank = _room_for(file.rank, self._ranks)
        for role in file.roles:
            before = self._loaded.get(role)
            loaded = self._with_room(role, rank)
            if loaded is not before:
                continue  # new arrays begin with everything that is loaded
            for bank in self._bundle.manifest.lora[role]:
                down, up = self._padded(file.stacks.get((role, bank.name)), role, bank, loaded.rank)
                loaded.arrays[f"lora_{bank.name}_down"].write(slot, down)
                loaded.arrays[f"lora_{bank.name}_up"].write(slot, up)

    def _with_room(self, role: str, rank: int) -> _Loaded:
        """The role's arrays; larger ones with the same content where they had no room, and runs end with the old."""
        with self._loading:
            loaded = self._loaded.get(role)
            if loaded is None or loaded.rank < rank:
                loaded = self._loaded[role] = _Loaded(rank, self._allocated(role, rank))
            return loaded

    def _allocated(self, role: str, rank: int) -> dict[str, Resident]:
        arrays: dict[str, Resident] = {}
        for bank in self._bundle.manifest.lora[role]:
            down, up = self._empty(role, bank, rank, self._slots.count + 1)
            for slot, file in self._files.items():
                _fill(down[slot], up[slot], file.stacks.get((role, bank.name)))
            arrays[f"lora_{bank.name}_down"] = self._backend.resident(down)
            arrays[f"lora_{bank.name}_up"] = self._backend.resident(up)
        return arrays

    def _padded(self, stack: Stack | None, role: str, bank: LoraBank, rank: int) -> tuple[Array, Array]:
        """What is written into a slot; the file's own arrays where they are that already."""
        if stack and stack.down.shape[1] == rank and _dtype(self._bundle, role, bank) == stack.down.dtype:
            return stack.down, stack.up
        down, up = self._empty(role, bank, rank)
        _fill(down, up, stack)
        return down, up

    def _empty(self, role: str, bank: LoraBank, rank: int, *first: int) -> tuple[Array, Array]:
        layers, dtype = len(bank.modules), _dtype(self._bundle, role, bank)
        down = np.zeros((*first, layers, rank, bank.in_features), dtype)
        return down, np.zeros((*first, layers, bank.out_features, rank), dtype)


def _ranks(backend: Backend) -> tuple[int, ...]:
    return STATIC_RANKS if backend.name == "tensorrt" else RANKS


def _room_for(rank: int, ranks: Sequence[int]) -> int:
    return next(each for each in ranks if each >= rank)


def _dtype(bundle: Bundle, role: str, bank: LoraBank) -> np.dtype[Any]:
    """What the graph reads; a backend whose numbers are shorter makes them so itself."""
    ports = bundle.part(f"{role}_lora").inputs
    return np.dtype(next(port.dtype for port in ports if port.name == f"lora_{bank.name}_down"))


def _picked(row: LoraRow, role: str) -> Iterator[tuple[int, float]]:
    """Slot and weight of the LoRAs that change `role`: of the others the slot holds nothing for it."""
    for slot, weight, touched in zip(row.slots, row.weights, row.touches, strict=True):
        if role in touched:
            yield slot, weight


def _fill(down: Array, up: Array, stack: Stack | None) -> None:
    """Writes a file's matrices into zeros [layers, rank, in] and [layers, out, rank] of at least its rank."""
    if stack is not None:
        rank = stack.down.shape[1]
        down[:, :rank] = stack.down
        up[:, :, :rank] = stack.up
