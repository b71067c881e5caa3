"""A bundle that cannot fit is refused by name and size before anything of it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.engine.backend import Array
from bowerbird.engine.backends.cpu import CpuBackend, HostArray
from bowerbird.engine.bundle import WEIGHTS, Bundle
from bowerbird.engine.lora.banks import LoraBanks, bank_bytes
from bowerbird.engine.memory import host_memory_bytes, needed_bytes, refuse_too_large
from bowerbird.engine.opening import open_engine
from bowerbird.errors import BundleInvalid, BundleTooLarge

from .tiny_bundle import Tiny, write_tiny_bundle

GIBIBYTE = 2**30


def write_cgroup(folder: Path, limit: str, used: int, inactive_file: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\nactive_file 7\n")


def test_a_bundle_beyond_the_budget_is_refused_by_name_and_size(bundle: Bundle) -> None:
    needed = needed_bytes(bundle, 4)
    with pytest.raises(BundleTooLarge, match=r"tiny 1 needs about 2 MiB on cpu; it may take 1 MiB"):
        refuse_too_large(bundle, CpuBackend(1, memory_bytes=2**20))
    with pytest.raises(BundleTooLarge):
        refuse_too_large(bundle, CpuBackend(1, memory_bytes=needed - 1))
    refuse_too_large(bundle, CpuBackend(1, memory_bytes=needed))


def test_more_weights_larger_numbers_and_more_pixels_need_more(bundle: Bundle, tmp_path: Path) -> None:
    wide = write_tiny_bundle(tmp_path / "wide", Tiny(hidden=64))
    large = write_tiny_bundle(tmp_path / "large", Tiny(more_sides=(32,)))
    usual = needed_bytes(bundle, 4)
    assert needed_bytes(bundle, 2) < usual
    assert min(needed_bytes(other, 4) for other in (wide, large)) > usual


def test_graphs_with_loras_count_where_loras_are_taken(bundle: Bundle, tmp_path: Path) -> None:
    lora = write_tiny_bundle(tmp_path / "lora", Tiny(lora=True))
    assert needed_bytes(lora, 4) == needed_bytes(bundle, 4)
    assert needed_bytes(lora, 4, with_lora=True) > needed_bytes(lora, 4)


def test_a_part_computed_in_fp16_takes_half(bundle: Bundle) -> None:
    part = bundle.part("denoiser")
    parts = bundle.manifest.parts | {"denoiser": part.model_copy(update={"half": part.graph})}
    halved = Bundle(bundle.folder, bundle.manifest.model_copy(update={"parts": parts}), bundle.digest)
    assert needed_bytes(halved, 4) == needed_bytes(bundle, 4)
    assert needed_bytes(bundle, 2) < needed_bytes(halved, 4, half=True) < needed_bytes(bundle, 4, half=True)


@pytest.mark.parametrize(("slots", "rank"), [(1, 1), (8, 4), (64, 64)])
def test_the_room_for_loras_is_what_the_banks_take(tmp_path: Path, slots: int, rank: int) -> None:
    bundle = write_tiny_bundle(tmp_path / "lora", Tiny(lora=True))
    backend = Weighing()
    LoraBanks(bundle, backend, slots).prepare(rank)
    assert bank_bytes(bundle, backend, slots, rank) == backend.taken_bytes


def test_the_refusal_names_the_room_for_loras(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "lora", Tiny(lora=True))
    (tmp_path / "loras").mkdir()
    without = needed_bytes(bundle, 4, with_lora=True)
    backend = CpuBackend(1, memory_bytes=without + bank_bytes(bundle, CpuBackend(1), 64, 16) - 1)
    with pytest.raises(BundleTooLarge, match=r"1 MiB of it for 64 LoRAs of rank 16 \(BOWERBIRD_LORA_SLOTS\); it may"):
        open_engine(bundle.folder, backend, loras=tmp_path / "loras", lora_slots=64)
    assert open_engine(bundle.folder, backend, loras=tmp_path / "loras", lora_slots=63)
    assert open_engine(bundle.folder, CpuBackend(1, memory_bytes=without))


class Weighing(CpuBackend):
    """Adds up what is placed on it."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.taken_bytes = 0

    def resident(self, array: Array) -> HostArray:
        self.taken_bytes += array.nbytes
        return super().resident(array)


def test_weights_without_a_header_are_refused(copied: Path, bundle: Bundle) -> None:
    (copied / WEIGHTS).write_bytes(b"\xff" * 100)
    with pytest.raises(BundleInvalid, match=r"no header of safetensors"):
        needed_bytes(Bundle(copied, bundle.manifest, bundle.digest), 4)


def test_a_container_may_take_its_limit_less_what_it_cannot_give_back(tmp_path: Path) -> None:
    write_cgroup(tmp_path, str(GIBIBYTE), used=GIBIBYTE // 2, inactive_file=1000)
    assert host_memory_bytes(tmp_path) == GIBIBYTE // 2 + 1000


def test_a_full_container_has_room_for_no_bundle(bundle: Bundle, tmp_path: Path) -> None:
    write_cgroup(tmp_path, str(GIBIBYTE), used=2 * GIBIBYTE, inactive_file=0)
    with pytest.raises(BundleTooLarge):
        refuse_too_large(bundle, CpuBackend(1, memory_bytes=host_memory_bytes(tmp_path)))


@pytest.mark.parametrize("limited", [True, False])
def test_without_a_limit_the_machine_is_the_limit(tmp_path: Path, limited: bool) -> None:
    if limited:
        write_cgroup(tmp_path, "max", used=5, inactive_file=0)
    assert host_memory_bytes(tmp_path) > GIBIBYTE // 4


def test_it_finds_its_own_group() -> None:
    assert host_memory_bytes() > 0
