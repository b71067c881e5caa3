"""A bundle is opened whole and unaltered, or not at all, and says which file is to blame."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime import InferenceSession

from bowerbird.engine import bundle as format_of_bundles
from bowerbird.engine.backend import Session
from bowerbird.engine.backends import prepacked
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.backends.onnx_runtime import open_session
from bowerbird.engine.bundle import MANIFEST, WEIGHTS, Bundle, unreplaced
from bowerbird.engine.opening import open_engine
from bowerbird.errors import BundleInvalid

from .gated_backend import GatedBackend
from .tiny_bundle import Tiny, write_tiny_bundle


def rewrite(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(document | changes))


def test_the_digest_is_what_sha256sum_prints_for_the_manifest(bundle: Bundle) -> None:
    assert bundle.digest == "sha256:" + hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest()


def test_the_same_model_has_the_same_digest_wherever_it_is_written(bundle: Bundle, tmp_path: Path) -> None:
    assert write_tiny_bundle(tmp_path / "elsewhere").digest == bundle.digest


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_altered_bit_anywhere_is_found_and_the_file_named_with_both_digests(
    copied: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in copied.iterdir() if path.name != MANIFEST)))
    whole = (copied / name).read_bytes()
    altered = bytearray(whole)
    altered[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (copied / name).write_bytes(altered)
    try:
        with pytest.raises(BundleInvalid) as refused:
            Bundle.open(copied)
    finally:
        (copied / name).write_bytes(whole)
    expected, found = (hashlib.sha256(each).hexdigest() for each in (whole, altered))
    assert name in refused.value.message
    assert f"expected sha256:{expected}" in refused.value.message
    assert f"found sha256:{found}" in refused.value.message


def test_a_truncated_file_is_told_with_both_sizes(copied: Path) -> None:
    size = (copied / WEIGHTS).stat().st_size
    with (copied / WEIGHTS).open("rb+") as file:
        file.truncate(size - 1)
    with pytest.raises(BundleInvalid, match=rf"weights.*\({size} bytes\).*\({size - 1} bytes\)"):
        Bundle.open(copied)


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "denoiser.onnx").unlink()
    with pytest.raises(BundleInvalid, match=r"denoiser\.onnx cannot be read"):
        Bundle.open(copied)


def test_an_altered_manifest_is_another_model(copied: Path, bundle: Bundle) -> None:
    rewrite(copied, name="impostor")
    assert Bundle.open(copied).digest != bundle.digest


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"format": "bowerbird-bundle-2"}'])
def test_a_foreign_manifest_is_refused(copied: Path, content: bytes) -> None:
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(BundleInvalid, match="is not a bundle of format 2"):
        Bundle.open(copied)


def test_a_manifest_of_another_format_is_refused(copied: Path) -> None:
    rewrite(copied, format="bowerbird-bundle-3")
    with pytest.raises(BundleInvalid, match="format: Input should be 'bowerbird-bundle-2'"):
        Bundle.open(copied)


def test_a_huge_manifest_is_not_read(copied: Path) -> None:
    with (copied / MANIFEST).open("ab") as file:
        file.truncate(5 * 1024 * 1024)
    with pytest.raises(BundleInvalid, match="larger than"):
        Bundle.open(copied)


def test_a_folder_without_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=f"^{re.escape(str(tmp_path))} is not a bundle: bundle.json cannot be read"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("name", ["../weights.safetensors", "/etc/passwd", ".hidden", "a/b", ""])
def test_a_manifest_cannot_point_out_of_its_folder(copied: Path, name: str) -> None:
    files = json.loads((copied / MANIFEST).read_text())["files"]
    rewrite(copied, files=files | {name: files[WEIGHTS]})
    with pytest.raises(BundleInvalid, match="is not a bundle of format 2"):
        Bundle.open(copied)


def test_a_part_whose_graph_is_not_listed_is_refused(copied: Path) -> None:
    document = json.loads((copied / MANIFEST).read_text())
    del document["files"]["decoder.onnx"]
    (copied / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(BundleInvalid, match=r"the graph of decoder, decoder\.onnx, is not among the files"):
        Bundle.open(copied)


def test_what_a_bundle_lacks_is_said_when_it_is_asked_for(copied: Path) -> None:
    rewrite(copied, drawing=None, tokenizer=None)
    bundle = Bundle.open(copied)
    with pytest.raises(BundleInvalid, match="cannot draw"):
        _ = bundle.drawing
    with pytest.raises(BundleInvalid, match="reads no text"):
        _ = bundle.tokenizer
    with pytest.raises(BundleInvalid, match="has no image_encoder; it has decoder, denoiser, text_encoder"):
        bundle.part("image_encoder")
    with pytest.raises(BundleInvalid, match=r"has no preview\.onnx"):
        bundle.path("preview.onnx")


def test_parts_of_one_bundle_have_different_digests(bundle: Bundle) -> None:
    assert len({bundle.part_digest(role) for role in bundle.manifest.parts}) == len(bundle.manifest.parts)


def test_a_folder_that_is_replaced_while_it_is_checked_is_checked_again(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest_of, new = format_of_bundles.digest_of, []

    def replacing(path: Path) -> str:
        monkeypatch.undo()
        new.append(write_tiny_bundle(copied, Tiny(hidden=4)).digest)
        return digest_of(path)

    monkeypatch.setattr(format_of_bundles, "digest_of", replacing)
    assert [Bundle.open(copied).digest] == new


def test_of_a_bundle_that_was_replaced_no_file_is_given(copied: Path) -> None:
    old = Bundle.open(copied)
    write_tiny_bundle(copied, Tiny(hidden=4))
    with pytest.raises(BundleInvalid, match=f"was replaced after {old.digest} was opened"):
        old.graph("denoiser")


def test_what_was_read_of_two_bundles_is_refused(copied: Path) -> None:
    with pytest.raises(BundleInvalid, match="was replaced while it was read"), unreplaced(copied):
        write_tiny_bundle(copied, Tiny(hidden=4))


class ReplacingBackend(GatedBackend):
    """Somebody compiles anew while the last graph is loaded."""

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """See `Backend.load`."""
        session = super().load(graph, rowwise=rowwise, key=key)
        if graph.stem == "decoder":
            write_tiny_bundle(graph.parent, Tiny(hidden=4))
        return session


def test_a_bundle_that_is_replaced_while_it_is_loaded_is_not_served(copied: Path) -> None:
    with pytest.raises(BundleInvalid, match="was replaced while it was read"):
        open_engine(copied, ReplacingBackend(gate_open=True))


def test_of_a_bundle_that_is_replaced_while_it_is_packed_nothing_is_kept(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replacing(*arguments: Any) -> InferenceSession:
        monkeypatch.undo()
        write_tiny_bundle(copied, Tiny(hidden=4))
        return open_session(*arguments)

    bundle, backend = Bundle.open(copied), CpuBackend(1, cache=tmp_path / "cache")
    monkeypatch.setattr(prepacked, "open_session", replacing)
    backend.load(bundle.path("denoiser.onnx"), key=bundle.part_digest("denoiser"))
    assert list((tmp_path / "cache").rglob("prepared.json")) == []
