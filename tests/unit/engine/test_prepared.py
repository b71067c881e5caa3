"""Prepared files are made once, found again, and made again when anything about them is wrong."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.backends.prepared import RECORD, PreparedFiles, instruction_set
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BundleInvalid

from .test_cpu import rows

FACTS = {"part": "0" * 64, "runtime": "1.31"}


class Maker:
    """Writes one file and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "weights.bin").write_bytes(bytes(range(256)) * 64)


def alter(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"altered")


def truncate(path: Path) -> None:
    os.truncate(path, 1000)


def make_foreign(path: Path) -> None:
    record = json.loads((path.parent / RECORD).read_text())
    record["facts"]["runtime"] = "1.30"
    (path.parent / RECORD).write_text(json.dumps(record))


def forget_record(path: Path) -> None:
    (path.parent / RECORD).unlink()


def garble_record(path: Path) -> None:
    (path.parent / RECORD).write_bytes(b"{")


def test_what_was_made_is_found_again(tmp_path: Path) -> None:
    make = Maker()
    first = PreparedFiles(tmp_path).find(FACTS, make)
    second = PreparedFiles(tmp_path).find(FACTS, make)
    assert first is not None
    assert first == second == PreparedFiles(tmp_path).existing(FACTS)
    assert make.calls == 1


@pytest.mark.parametrize("name", ["part", "runtime"])
def test_other_facts_are_other_files(tmp_path: Path, name: str) -> None:
    make = Maker()
    files = PreparedFiles(tmp_path)
    assert files.find(FACTS, make) != files.find(FACTS | {name: "other"}, make)
    assert make.calls == 2


@pytest.mark.parametrize("damage", [alter, truncate, make_foreign, forget_record, garble_record, Path.unlink])
def test_what_is_not_what_was_made_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make = Maker()
    files = PreparedFiles(tmp_path)
    folder = files.find(FACTS, make)
    assert folder is not None
    damage(folder / "weights.bin")
    assert files.existing(FACTS) is None
    assert files.find(FACTS, make) == folder
    assert (folder / "weights.bin").read_bytes() == bytes(range(256)) * 64
    assert make.calls == 2


def test_a_copied_cache_is_compared_by_digest_and_used(tmp_path: Path) -> None:
    make = Maker()
    assert PreparedFiles(tmp_path / "first").find(FACTS, make)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    assert PreparedFiles(tmp_path / "second").find(FACTS, make)
    assert make.calls == 1


def test_of_several_that_start_at_once_one_makes_and_all_find(tmp_path: Path) -> None:
    make, begin = Maker(), threading.Barrier(4)
    found: list[Path | None] = []

    def start() -> None:
        begin.wait()
        found.append(PreparedFiles(tmp_path).find(FACTS, make))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.calls == 1
    assert len(set(found)) == 1
    assert found[0] is not None


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    files, make = PreparedFiles(tmp_path), Maker()
    with pytest.raises(KeyboardInterrupt):
        files.find(FACTS, interrupted)
    assert files.existing(FACTS) is None
    folder = files.find(FACTS, make)
    assert folder is not None
    shutil.copytree(folder, folder.with_suffix(".new"))  # killed between two lines: nobody removed it
    alter(folder / "weights.bin")
    assert files.find(FACTS, make) == folder
    assert not folder.with_suffix(".new").exists()


def test_a_maker_that_gives_up_means_without(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise BundleInvalid("cannot be read")

    assert PreparedFiles(tmp_path).find(FACTS, refuse) is None
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said_once_and_done_without(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = CpuBackend(2, cache=tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        for role in ("denoiser", "decoder"):
            session = backend.load(
                bundle.path(f"{role}.onnx"), rowwise=role == "denoiser", key=bundle.part_digest(role)
            )
            assert session is not None
    assert len(caplog.records) == 1
    assert str(tmp_path / "file") in caplog.text


def test_a_prepared_graph_computes_the_same_bits(bundle: Bundle, tmp_path: Path) -> None:
    plain = CpuBackend(2).load(bundle.path("denoiser.onnx"))
    for _ in ("made", "found"):
        prepared = CpuBackend(2, cache=tmp_path).load(bundle.path("denoiser.onnx"), key=bundle.part_digest("denoiser"))
        assert np.array_equal(prepared.run(rows(3))["output"], plain.run(rows(3))["output"])


def test_the_bundle_is_not_written_to(bundle: Bundle, tmp_path: Path) -> None:
    before = sorted(bundle.folder.iterdir())
    CpuBackend(1, cache=tmp_path).load(bundle.path("denoiser.onnx"), key=bundle.part_digest("denoiser"))
    assert sorted(bundle.folder.iterdir()) == before


def test_a_disk_that_fills_up_is_done_without(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        session = CpuBackend(1, cache=tmp_path).load(bundle.path("denoiser.onnx"), key=bundle.part_digest("denoiser"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert session.run(rows(1))["output"].shape == (1, 4, 8, 8)
    assert not list(tmp_path.rglob(RECORD))
    assert len(caplog.records) == 1


class TestSweeping:
    """What is not used any more goes when something new is made."""

    def make(self, folder: Path, part: str, days_unused: float = 0, **options: Any) -> Path:
        """The set of a part, by a process that ended so many days ago."""
        entry = PreparedFiles(folder, **options).find({"part": part}, Maker())
        assert entry is not None
        used = time.time() - days_unused * 24 * 3600
        os.utime(entry / RECORD, (used, used))
        return entry

    def test_a_set_that_nobody_has_used_for_long_goes_and_a_recent_one_stays(self, tmp_path: Path) -> None:
        old = self.make(tmp_path, "old", days_unused=31)
        recent = self.make(tmp_path, "recent", days_unused=29)
        new = self.make(tmp_path, "new")
        assert not old.exists()
        assert recent.exists()
        assert new.exists()

    def test_a_set_that_a_process_uses_stays_however_old(self, tmp_path: Path) -> None:
        used = self.make(tmp_path, "used")
        user = PreparedFiles(tmp_path)
        assert user.existing({"part": "used"}) == used
        os.utime(used / RECORD, (0, 0))
        self.make(tmp_path, "new", max_bytes=1)
        assert used.exists()
        del user
        self.make(tmp_path, "newer", max_bytes=1)
        assert not used.exists()

    def test_being_found_is_being_used(self, tmp_path: Path) -> None:
        old = self.make(tmp_path, "old", days_unused=31)
        make = Maker()
        assert PreparedFiles(tmp_path).find({"part": "old"}, make) == old
        self.make(tmp_path, "new")
        assert old.exists()
        assert make.calls == 0

    def test_beyond_the_bound_the_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        sets = [self.make(tmp_path, str(days), days_unused=days) for days in (1, 3, 2)]
        size = sum(path.stat().st_size for path in sets[0].iterdir())
        self.make(tmp_path, "new", max_bytes=3 * size + size // 2)
        assert [each.exists() for each in sets] == [True, False, True]

    def test_a_mapped_file_that_was_swept_out_is_still_whole(self, tmp_path: Path) -> None:
        old = self.make(tmp_path, "old", days_unused=31)
        mapped = np.memmap(old / "weights.bin", np.uint8, mode="r")
        self.make(tmp_path, "new")
        assert not old.exists()
        assert bytes(mapped) == bytes(range(256)) * 64

    def test_what_was_swept_out_is_made_again(self, tmp_path: Path) -> None:
        old = self.make(tmp_path, "old", days_unused=31)
        self.make(tmp_path, "new")
        make = Maker()
        assert PreparedFiles(tmp_path).find({"part": "old"}, make) == old
        assert make.calls == 1

    def test_what_a_killed_process_left_goes_unless_it_is_still_being_made(self, tmp_path: Path) -> None:
        (tmp_path / "killed.new").mkdir()

        def slow(folder: Path) -> None:
            self.make(tmp_path, "another")  # meanwhile, somebody else makes and sweeps
            Maker()(folder)

        assert PreparedFiles(tmp_path).find({"part": "slow"}, slow) is not None
        assert not list(tmp_path.glob("*.new"))

    def test_engines_that_a_start_would_not_build_again_are_never_swept_out(self, tmp_path: Path) -> None:
        old = self.make(tmp_path, "old", days_unused=400, swept=False, max_bytes=1)
        self.make(tmp_path, "new", swept=False, max_bytes=1)
        assert old.exists()

    def test_workers_that_start_while_another_sweeps_find_or_make_what_they_need(self, tmp_path: Path) -> None:
        problems: list[str] = []

        def worker(number: int) -> None:
            for turn in range(20):
                files = PreparedFiles(tmp_path, max_bytes=1)
                entry = files.find({"part": str((number + turn) % 5)}, Maker())
                if entry is None or (entry / "weights.bin").read_bytes() != bytes(range(256)) * 64:
                    problems.append(str(entry))

        threads = [threading.Thread(target=worker, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems


def test_the_instruction_set_names_the_machine() -> None:
    assert instruction_set().split()[0]
