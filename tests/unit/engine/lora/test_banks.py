"""Any row of any batch finds its LoRAs on the device, and nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.backend import Array
from bowerbird.engine.backends.cpu import CpuBackend, HostArray
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.lora.files import LoraFile
from bowerbird.engine.lora.shelf import LoraShelf
from bowerbird.errors import RequestInvalid, StageFull

from .small_model import ALL, BANKS, Matrices, Module, matrices, small_bundle, tensors, write

UNET: tuple[Module, ...] = tuple(module for module in ALL if module[0] == "denoiser")
CLIP: tuple[Module, ...] = tuple(module for module in ALL if module[0] == "text_encoder")


def lora(folder: Path, lora_id: str, given: Matrices) -> LoraFile:
    """Written and read again."""
    write(folder, lora_id, tensors(given))
    return LoraShelf(folder, small_bundle()).find(lora_id)


def held(banks: LoraBanks, role: str, row: LoraRow) -> list[dict[Module, Array]]:
    """What each LoRA of a row does to each module of a role: weight * up @ down, as a graph would find it."""
    inputs = banks.inputs(role, [None, row])
    slots, weights = inputs["lora_slots"], inputs["lora_weights"]
    assert isinstance(slots, np.ndarray)
    assert isinstance(weights, np.ndarray)
    found = []
    for slot, weight in zip(slots[1], weights[1], strict=True):
        changes = {}
        for bank in BANKS[role]:
            down, up = (inputs[f"lora_{bank.name}_{which}"] for which in ("down", "up"))
            assert isinstance(down, HostArray)
            assert isinstance(up, HostArray)
            for layer, path in enumerate(bank.modules):
                changes[role, path] = weight * (up.array[slot, layer] @ down.array[slot, layer])
        found.append(changes)
    return found


def assert_holds(banks: LoraBanks, row: LoraRow, uses: Sequence[tuple[Matrices, float]]) -> None:
    """The row does what its files say, to every module of every role that they touch."""
    for role in BANKS:
        touching = [(given, weight) for given, weight in uses if any(module[0] == role for module in given)]
        found = held(banks, role, row)
        for place, changes in enumerate(found):
            given, weight = touching[place] if place < len(touching) else ({}, 0.0)
            for module, change in changes.items():
                down, up = given.get(module, (np.zeros((1, change.shape[1])), np.zeros((change.shape[0], 1))))
                np.testing.assert_allclose(change, weight * (up @ down), rtol=1e-4, atol=1e-5)


@pytest.fixture
def banks(bundle: Bundle) -> LoraBanks:
    """Two slots."""
    return LoraBanks(bundle, CpuBackend(threads=1), slots=2)


def test_rows_of_one_batch_have_different_loras(folder: Path, banks: LoraBanks) -> None:
    first, second = matrices(1, 3), matrices(2, 2, UNET)
    one = banks.acquire([(lora(folder, "one", first), 0.5)])
    both = banks.acquire([(lora(folder, "two", second), -1.0), (lora(folder, "one", first), 2.0)])
    inputs = banks.inputs("denoiser", [one, None, both])
    np.testing.assert_array_equal(inputs["lora_slots"], [[1, 0], [0, 0], [2, 1]])
    np.testing.assert_array_equal(inputs["lora_weights"], np.array([[0.5, 0], [0, 0], [-1, 2]], np.float32))
    assert_holds(banks, one, [(first, 0.5)])
    assert_holds(banks, both, [(second, -1.0), (first, 2.0)])


def test_a_row_without_lora_reads_zeros(bundle: Bundle, banks: LoraBanks) -> None:
    inputs = banks.inputs("denoiser", [None, None])
    np.testing.assert_array_equal(inputs["lora_slots"], np.zeros((2, 1), np.int64))
    assert inputs["lora_slots"].dtype == np.int64
    assert inputs["lora_weights"].dtype == np.float32
    names = {port.name for port in bundle.part("denoiser_lora").inputs}
    assert inputs.keys() == {"lora_slots", "lora_weights", *names}
    for name in names:
        array = inputs[name]
        assert isinstance(array, HostArray)
        assert not array.array.any()


def test_a_role_that_no_lora_touches_is_left_to_its_plain_graph(folder: Path, banks: LoraBanks) -> None:
    one = lora(folder, "one", matrices(1, 3, UNET))
    two = lora(folder, "two", matrices(2, 3, CLIP))
    row = banks.acquire([(one, 0.5), (two, 2.0)])
    assert row.roles == {"denoiser", "text_encoder"}
    assert row.key("denoiser") == ((one.digest, 0.5),)
    assert row.key("text_encoder") == ((two.digest, 2.0),)
    assert row.key("text_encoder_2") == ()
    np.testing.assert_array_equal(banks.inputs("text_encoder", [row])["lora_slots"], [[2]])
    np.testing.assert_array_equal(banks.inputs("text_encoder_2", [row])["lora_slots"], [[0]])


def test_a_rows_digest_names_files_weights_and_their_order(folder: Path, banks: LoraBanks) -> None:
    one, two = lora(folder, "one", matrices(1, 2)), lora(folder, "two", matrices(2, 2))
    digests = [
        banks.acquire(uses).digest
        for uses in ([(one, 1.0)], [(one, 0.5)], [(two, 1.0)], [(one, 1.0), (two, 1.0)], [(two, 1.0), (one, 1.0)])
    ]
    assert len(set(digests)) == len(digests)
    assert banks.acquire([(one, 1.0)]).digest == digests[0]


def test_a_weight_of_zero_is_no_lora(folder: Path, banks: LoraBanks) -> None:
    row = banks.acquire([(lora(folder, "one", matrices(1, 2)), 0.0)])
    assert (row.slots, row.roles, row.key("denoiser")) == ((), frozenset(), ())


@pytest.mark.parametrize(("loras", "room"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4)])
def test_room_for_loras_comes_in_few_sizes(folder: Path, bundle: Bundle, loras: int, room: int) -> None:
    banks = LoraBanks(bundle, CpuBackend(threads=1), slots=4)
    row = banks.acquire([(lora(folder, f"l{n}", matrices(n, 1)), 1.0) for n in range(loras)])
    assert banks.inputs("denoiser", [None, row])["lora_slots"].shape == (2, room)


@pytest.mark.parametrize(("rank", "padded"), [(1, 4), (4, 4), (5, 8), (16, 16), (17, 32), (33, 64), (64, 64)])
def test_ranks_are_padded_to_few_sizes(folder: Path, banks: LoraBanks, rank: int, padded: int) -> None:
    given = matrices(rank, rank)
    row = banks.acquire([(lora(folder, "one", given), 1.0)])
    assert banks.inputs("denoiser", [row])["lora_8_to_8_down"].shape == (3, 3, padded, 8)
    assert_holds(banks, row, [(given, 1.0)])


def test_banks_grow_for_a_larger_lora_and_keep_what_they_hold(folder: Path, banks: LoraBanks) -> None:
    small, large = matrices(1, 3), matrices(2, 40, UNET)
    one = banks.acquire([(lora(folder, "small", small), 1.0)])
    before = banks.inputs("denoiser", [one])
    two = banks.acquire([(lora(folder, "large", large), 1.0)])
    assert_holds(banks, one, [(small, 1.0)])
    assert_holds(banks, two, [(large, 1.0)])
    assert banks.inputs("denoiser", [one])["lora_8_to_8_up"].shape == (3, 3, 8, 64)
    assert banks.inputs("text_encoder", [one])["lora_4_to_4_up"].shape == (3, 2, 4, 4)
    old = before["lora_8_to_8_up"]  # a run in flight still has it
    assert isinstance(old, HostArray)
    np.testing.assert_array_equal(old.array[1, 0, :, :3], small[UNET[2]][1])


def test_a_slot_that_changes_hands_keeps_nothing_of_its_former_lora(folder: Path, bundle: Bundle) -> None:
    banks = LoraBanks(bundle, CpuBackend(threads=1), slots=1)
    banks.release(banks.acquire([(lora(folder, "all", matrices(1, 8)), 1.0)]))
    few = matrices(2, 2, UNET[:1])
    assert_holds(banks, banks.acquire([(lora(folder, "few", few), 1.0)]), [(few, 1.0)])


def test_pinned_slots_are_full_and_free_again_when_released(folder: Path, banks: LoraBanks) -> None:
    files = [lora(folder, f"l{n}", matrices(n, 2)) for n in range(3)]
    row, _ = (banks.acquire([(file, 1.0)]) for file in files[:2])
    with pytest.raises(StageFull):
        banks.acquire([(files[2], 1.0)])
    banks.release(row)
    assert banks.acquire([(files[2], 1.0)]).slots == row.slots


def test_a_release_counts_once(folder: Path, banks: LoraBanks) -> None:
    files = [lora(folder, f"l{n}", matrices(n, 2)) for n in range(3)]
    first, second = banks.acquire([(files[0], 1.0)]), banks.acquire([(files[0], 1.0)])
    banks.acquire([(files[1], 1.0)])
    banks.release(first)
    banks.release(first)
    with pytest.raises(StageFull):
        banks.acquire([(files[2], 1.0)])
    banks.release(second)
    banks.acquire([(files[2], 1.0)])


def test_what_was_pinned_before_there_was_no_room_is_unpinned(folder: Path, banks: LoraBanks) -> None:
    files = [lora(folder, f"l{n}", matrices(n, 2)) for n in range(4)]
    held_row = banks.acquire([(files[0], 1.0)])
    with pytest.raises(StageFull):
        banks.acquire([(files[1], 1.0), (files[2], 1.0)])
    banks.acquire([(files[3], 1.0)])
    assert_holds(banks, held_row, [(matrices(0, 2), 1.0)])


def test_more_loras_than_slots_can_never_be_served(folder: Path, banks: LoraBanks) -> None:
    with pytest.raises(RequestInvalid, match="2 LoRAs at a time"):
        banks.acquire([(lora(folder, f"l{n}", matrices(n, 2)), 1.0) for n in range(3)])


def test_room_that_was_prepared_is_not_made_again(folder: Path, bundle: Bundle) -> None:
    backend = FullDevice(threads=1)
    banks = LoraBanks(bundle, backend, slots=2)
    banks.prepare(12)
    backend.full = True
    given = matrices(1, 16)
    assert_holds(banks, banks.acquire([(lora(folder, "one", given), 1.0)]), [(given, 1.0)])


def test_fixed_arrays_have_one_shape_whatever_the_rows_carry(folder: Path, bundle: Bundle) -> None:
    banks = LoraBanks(bundle, CpuBackend(threads=1), slots=3, fixed=True)
    files = [lora(folder, f"l{rank}", matrices(rank, rank)) for rank in (2, 30, 64)]
    shapes = set()
    for uses in ([], files[:1], files[:2], files):
        row = banks.acquire([(file, 1.0) for file in uses])
        shapes.add(tuple((name, value.shape) for name, value in sorted(banks.inputs("denoiser", [row]).items())))
        banks.release(row)
    assert len(shapes) == 1


class FullDevice(CpuBackend):
    """Has no memory left while `full`."""

    full = False

    def resident(self, array: Array) -> HostArray:
        if self.full:
            raise MemoryError
        return super().resident(array)


def test_a_lora_that_the_device_had_no_room_for_is_not_taken_for_loaded(folder: Path, bundle: Bundle) -> None:
    backend = FullDevice(threads=1)
    banks = LoraBanks(bundle, backend, slots=2)
    small, large = matrices(1, 2), matrices(2, 9)
    row = banks.acquire([(lora(folder, "small", small), 1.0)])
    backend.full = True
    for _ in range(3):  # the failures pin nothing either
        with pytest.raises(MemoryError):
            banks.acquire([(lora(folder, "large", large), 1.0)])
    assert_holds(banks, row, [(small, 1.0)])
    backend.full = False
    assert_holds(banks, banks.acquire([(lora(folder, "large", large), 1.0)]), [(large, 1.0)])
    assert_holds(banks, row, [(small, 1.0)])


class SlowDevice(CpuBackend):
    """Copies when it is told to."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.copying, self.go_on = threading.Event(), threading.Event()

    def resident(self, array: Array) -> HostArray:
        self.copying.set()
        assert self.go_on.wait(60)
        return super().resident(array)


def test_a_batch_does_not_wait_for_a_lora_that_is_being_copied(folder: Path, bundle: Bundle) -> None:
    backend = SlowDevice()
    banks = LoraBanks(bundle, backend, slots=2)
    backend.go_on.set()
    row = banks.acquire([(lora(folder, "small", matrices(1, 2)), 1.0)])
    other = banks.acquire([(lora(folder, "small", matrices(1, 2)), 1.0)])
    backend.copying.clear()
    backend.go_on.clear()
    copy = threading.Thread(target=banks.acquire, args=([(lora(folder, "large", matrices(2, 9)), 1.0)],))
    copy.start()
    assert backend.copying.wait(60)
    assert_holds(banks, row, [(matrices(1, 2), 1.0)])
    banks.release(other)
    backend.go_on.set()
    copy.join(60)
    assert not copy.is_alive()
    assert_holds(banks, row, [(matrices(1, 2), 1.0)])


def test_a_batch_that_comes_before_the_first_lora_is_copied_takes_its_arrays(folder: Path, bundle: Bundle) -> None:
    backend = SlowDevice()
    banks = LoraBanks(bundle, backend, slots=2)
    given, rows = matrices(2, 9), []
    file = lora(folder, "large", given)
    copy = threading.Thread(target=lambda: rows.append(banks.acquire([(file, 1.0)])))
    batch = threading.Thread(target=banks.inputs, args=("denoiser", [None]))
    copy.start()
    assert backend.copying.wait(60)
    batch.start()
    backend.go_on.set()
    for thread in (copy, batch):
        thread.join(60)
        assert not thread.is_alive()
    assert_holds(banks, rows[0], [(given, 1.0)])


class StaticDevice(CpuBackend):
    """Like TensorRT: every shape is an engine."""

    name = "tensorrt"


def test_where_shapes_are_prepared_ahead_there_are_two(folder: Path, bundle: Bundle) -> None:
    banks = LoraBanks(bundle, StaticDevice(threads=1), slots=2)
    row = banks.acquire([(lora(folder, "one", matrices(1, 2)), 1.0)])
    inputs = banks.inputs("denoiser", [row])
    assert (inputs["lora_slots"].shape, inputs["lora_8_to_8_down"].shape) == ((1, 4), (3, 3, 16, 8))


def test_banks_have_the_graphs_own_numbers(folder: Path) -> None:
    banks = LoraBanks(small_bundle("float16"), CpuBackend(threads=1), slots=1)
    given = matrices(1, 2)
    row = banks.acquire([(lora(folder, "one", given), 1.0)])
    down = banks.inputs("denoiser", [row])["lora_8_to_8_down"]
    assert isinstance(down, HostArray)
    assert down.dtype == np.float16
    np.testing.assert_array_equal(down.array[1, 0, :2], given[UNET[2]][0])


def test_a_bundle_without_lora_accepts_no_rank() -> None:
    assert LoraBanks(small_bundle(), CpuBackend(threads=1), slots=1).max_rank == 64
    assert LoraBanks(small_bundle(banks={}), CpuBackend(threads=1), slots=1).max_rank == 0
