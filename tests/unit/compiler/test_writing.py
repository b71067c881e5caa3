"""A bundle is written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bowerbird.compiler import writing
from bowerbird.compiler.writing import Staging, TargetOccupied
from bowerbird.engine.bundle import WEIGHTS, Bundle, Manifest
from bowerbird.errors import BundleInvalid

from ..engine.tiny_bundle import Tiny, write_tiny_bundle


def manifest_of(staging: Staging) -> Manifest:
    return Manifest(
        format="bowerbird-bundle-2",
        name="empty",
        version="1",
        licence="Apache-2.0",
        created=0,
        lineage={},
        files=staging.facts(),
        parts={},
        configs={},
        parity={},
        compiled_with={},
    )


def test_until_it_is_sealed_there_is_no_bundle(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "bundle")
    (staging.folder / WEIGHTS).write_bytes(b"half")
    assert not (tmp_path / "bundle").exists()
    staging.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_bundle_replaces_the_one_before_it(tmp_path: Path) -> None:
    old = write_tiny_bundle(tmp_path / "bundle")
    new = write_tiny_bundle(tmp_path / "bundle", Tiny(hidden=4))
    assert new.digest != old.digest
    assert Bundle.open(tmp_path / "bundle").digest == new.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_who_opens_a_bundle_while_it_is_replaced_finds_the_old_one_or_the_new(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    replacements = [Tiny(hidden=4), Tiny(), Tiny(hidden=4), Tiny(), Tiny(hidden=4)]
    written = {write_tiny_bundle(folder).digest}
    ended = threading.Event()

    def read() -> set[str]:
        found = set()
        while not ended.is_set():
            found.add(Bundle.open(folder).digest)
        return found

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        try:
            written |= {write_tiny_bundle(folder, tiny).digest for tiny in replacements}
        finally:
            ended.set()
        found = set[str]().union(*(each.result() for each in reading))
    assert found
    assert found <= written
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_where_folders_cannot_change_places_a_bundle_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    write_tiny_bundle(tmp_path / "bundle")
    new = write_tiny_bundle(tmp_path / "bundle", Tiny(hidden=4))
    assert Bundle.open(tmp_path / "bundle").digest == new.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_link_goes_on_leading_to_the_bundle(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "first")
    (tmp_path / "current").symlink_to("first")
    new = write_tiny_bundle(tmp_path / "current", Tiny(hidden=4))
    assert (tmp_path / "current").is_symlink()
    assert Bundle.open(tmp_path / "first").digest == new.digest
    assert {path.name for path in tmp_path.iterdir()} == {"first", "current"}


def test_what_a_killed_compile_left_is_swept_up_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from bowerbird.compiler.writing import Staging;"
        "staging = Staging(Path(sys.argv[1])); (staging.folder / 'weights').write_bytes(b'half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "bundle"], check=False)
    (left,) = tmp_path.iterdir()
    one, other = Staging(tmp_path / "bundle"), Staging(tmp_path / "bundle")
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {one.folder.name, other.folder.name}
    one.discard()
    other.discard()
    assert os.listdir(tmp_path) == []


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TargetOccupied, match="exists and is not a bundle"):
        Staging(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_bundle_that_changed_while_it_was_written_is_not_put_in_place(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "bundle")
    (staging.folder / WEIGHTS).write_bytes(b"whole")
    manifest = manifest_of(staging)
    (staging.folder / WEIGHTS).write_bytes(b"other")
    with pytest.raises(BundleInvalid, match="weights"):
        staging.seal(manifest)
    assert not (tmp_path / "bundle").exists()


def test_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    assert {path.stat().st_mode & 0o777 for path in bundle.folder.iterdir()} == {0o644}
