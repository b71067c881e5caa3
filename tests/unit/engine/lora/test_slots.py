"""Random lives of slots: what a row uses stays and is right; what nobody uses makes room, oldest first."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.lora.files import LoraFile
from bowerbird.engine.lora.slots import Slots
from bowerbird.errors import StageFull

from .small_model import Matrices, matrices, small_bundle
from .test_banks import assert_holds, lora

FILES = 5
RANKS = (1, 4, 6, 2, 9)


class SlotLives(RuleBasedStateMachine):
    """Requests come with one or two LoRAs, and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.given = [matrices(number, rank) for number, rank in enumerate(RANKS)]
        self.files = [lora(Path(self.folder.name), f"l{n}", given) for n, given in enumerate(self.given)]
        self.rows: dict[LoraRow, list[int]] = {}
        self.used: list[int] = []  # the least recently used first

    @initialize(slots=st.integers(2, 4))
    def open(self, slots: int) -> None:
        self.slots = slots
        self.banks = LoraBanks(small_bundle(), CpuBackend(threads=1), slots)

    @rule(numbers=st.lists(st.integers(0, FILES - 1), min_size=1, max_size=2, unique=True))
    def acquire(self, numbers: list[int]) -> None:
        pinned = {number for listed in self.rows.values() for number in listed}
        uses: list[tuple[LoraFile, float]] = [(self.files[number], 0.5 + number) for number in numbers]
        if len(pinned | set(numbers)) > self.slots:
            with pytest.raises(StageFull):
                self.banks.acquire(uses)
            return
        self.rows[self.banks.acquire(uses)] = numbers

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(list(self.rows)))
        del self.rows[row]
        self.banks.release(row)

    @invariant()
    def every_row_finds_its_own_files(self) -> None:
        for row, numbers in self.rows.items():
            uses: list[tuple[Matrices, float]] = [(self.given[number], 0.5 + number) for number in numbers]
            assert_holds(self.banks, row, uses)

    @invariant()
    def one_slot_holds_one_file(self) -> None:
        taken = {
            (slot, number)
            for row, numbers in self.rows.items()
            for slot, number in zip(row.slots, numbers, strict=True)
        }
        assert len({slot for slot, _ in taken}) == len({number for _, number in taken}) == len(taken)
        assert 0 not in {slot for slot, _ in taken}

    def teardown(self) -> None:
        self.folder.cleanup()


TestSlotLives = SlotLives.TestCase
TestSlotLives.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_the_least_recently_used_makes_room() -> None:
    slots = Slots(2)
    for digest in "ab":
        slots.unpin(slots.pin(digest)[0])
    slots.unpin(slots.pin("a")[0])
    assert slots.pin("c") == (2, True)  # b's
    assert slots.pin("a") == (1, False)


def test_the_end_of_use_counts_as_use() -> None:
    slots = Slots(2)
    a, b = slots.pin("a")[0], slots.pin("b")[0]
    slots.unpin(b)
    slots.unpin(a)
    assert slots.pin("c") == (b, True)
    assert slots.pin("a") == (a, False)


def test_a_dropped_slot_is_free_and_holds_nothing() -> None:
    slots = Slots(1)
    slots.drop(slots.pin("a")[0])
    assert slots.pin("b") == (1, True)
