"""The contract with c2pa-python: what a new version has to go on doing."""

from __future__ import annotations

import dataclasses
import http.server
import io
import threading
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image

from bowerbird.contracts import OutputFormat
from bowerbird.curation.certificates import SigningIdentity
from bowerbird.curation.credentials import MANIFEST_MARK, Credentials, ManifestUnreadable, SigningFailed, actions_of
from bowerbird.curation.encoding import MEDIA_TYPES, TRAINED_ALGORITHMIC_MEDIA, encode
from bowerbird.curation.provenance import check

MANIFEST: dict[str, Any] = {
    "title": "t",
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA}]},
        }
    ],
}


@pytest.fixture(scope="module")
def unsigned() -> dict[OutputFormat, bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    return {each: encode(pixels, each, 80) for each in OutputFormat}


def test_the_pinned_version_is_the_one_that_was_tested() -> None:
    assert c2pa.sdk_version().startswith("0.91.")


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_a_file_without_a_manifest_has_no_credential(
    credentials: Credentials, unsigned: dict[OutputFormat, bytes], output_format: OutputFormat
) -> None:
    assert credentials.read(unsigned[output_format], MEDIA_TYPES[output_format]) is None
    assert MANIFEST_MARK not in unsigned[output_format]


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_signing_adds_a_manifest_store_and_leaves_the_pixels_alone(
    credentials: Credentials, unsigned: dict[OutputFormat, bytes], output_format: OutputFormat
) -> None:
    content, media_type = unsigned[output_format], MEDIA_TYPES[output_format]
    signed = credentials.sign(content, media_type, MANIFEST)
    assert MANIFEST_MARK in signed.content
    assert signed.manifest_bytes < len(signed.content) - len(content) + 1000
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(signed.content)) as after:
        assert before.tobytes() == after.tobytes()


def test_a_manifest_that_is_only_linked_to_is_not_fetched(
    identity: SigningIdentity, credentials: Credentials, unsigned: dict[OutputFormat, bytes]
) -> None:
    """An upload must not make us call an address of its choice."""
    asked: list[str] = []

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        linked = io.BytesIO()
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None))
        with c2pa.Builder(MANIFEST) as builder, signer:
            builder.set_no_embed()
            builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/manifest.c2pa")
            builder.sign(signer, "image/png", io.BytesIO(unsigned[OutputFormat.PNG]), linked)
        assert b"manifest.c2pa" in linked.getvalue()
        report = check(linked.getvalue(), credentials)
        server.shutdown()
    assert asked == []
    assert (report.validation_state, report.verdict) == ("not_present", "other_ai_declared")


def test_a_signature_asks_no_authority_for_the_time(
    credentials: Credentials, unsigned: dict[OutputFormat, bytes]
) -> None:
    signed = credentials.sign(unsigned[OutputFormat.PNG], "image/png", MANIFEST)
    credential = credentials.read(signed.content, "image/png")
    assert credential is not None
    assert not [code for code in (*credential.failures, *credential.passed) if "timeStamp" in code]


def test_a_kind_of_file_that_cannot_be_signed_is_told(credentials: Credentials) -> None:
    with pytest.raises(SigningFailed):
        credentials.sign(b"no picture", "text/plain", MANIFEST)


def test_a_manifest_that_c2pa_refuses_is_told(credentials: Credentials, unsigned: dict[OutputFormat, bytes]) -> None:
    with pytest.raises(SigningFailed):
        credentials.sign(unsigned[OutputFormat.PNG], "image/png", {"assertions": "none"})


def test_a_file_that_cannot_be_parsed_is_told(credentials: Credentials) -> None:
    with pytest.raises(ManifestUnreadable):
        credentials.read(b"no picture", "image/png")


@pytest.mark.parametrize("changes", [{"key": b"no key"}, {"chain": b"no chain"}, {"algorithm": "rot13"}])
def test_an_identity_that_cannot_sign_is_told(identity: SigningIdentity, changes: dict[str, Any]) -> None:
    with pytest.raises(SigningFailed):
        Credentials(dataclasses.replace(identity, **changes)).sign(b"", "image/png", MANIFEST)


def test_both_versions_of_the_actions_assertion_are_read() -> None:
    manifest = {
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.opened"}, "nonsense"]}},
            {"label": "c2pa.actions.v2", "data": {"actions": [{"action": "c2pa.created"}]}},
            {"label": "c2pa.hash.data", "data": {}},
        ]
    }
    assert [action["action"] for action in actions_of(manifest)] == ["c2pa.opened", "c2pa.created"]
