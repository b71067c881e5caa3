"""A bundle is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

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
