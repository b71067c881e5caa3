"""A bundle that cannot fit is refused by name and size before anything of it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import WEIGHTS, Bundle
from bowerbird.engine.memory import host_memory_bytes, needed_bytes, refuse_too_large
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
    with pytest.raises(BundleTooLarge, match=r"tiny 1 needs about 2 MiB on cpu, and may take 1 MiB"):
        refuse_too_large(bundle, CpuBackend(1, memory_bytes=2**20))
    with pytest.raises(BundleTooLarge):
        refuse_too_large(bundle, CpuBackend(1, memory_bytes=needed - 1))
    refuse_too_large(bundle, CpuBackend(1, memory_bytes=needed))


def test_more_weights_larger_numbers_and_more_pixels_need_more(bundle: Bundle, tmp_path: Path) -> None:
    wide = write_tiny_bundle(tmp_path / "wide", Tiny(hidden=64))
    large = write_tiny_bundle(tmp_path / "large", Tiny(more_sides=(32,)))
    lora = write_tiny_bundle(tmp_path / "lora", Tiny(lora=True))
    usual = needed_bytes(bundle, 4)
    assert needed_bytes(bundle, 2) < usual
    assert min(needed_bytes(other, 4) for other in (wide, large, lora)) > usual


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
