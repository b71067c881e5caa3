"""Prepared files are made once, found again, and made again when anything about them is wrong."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

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


def test_the_instruction_set_names_the_machine() -> None:
    assert instruction_set().split()[0]
