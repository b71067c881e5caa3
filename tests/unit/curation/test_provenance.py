"""What a file proves about its origin, and what it only claims."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from bowerbird.contracts import OutputFormat, ProvenanceReport
from bowerbird.curation.credentials import MANIFEST_MARK, Credentials
from bowerbird.curation.encoding import MEDIA_TYPES, TRAINED_ALGORITHMIC_MEDIA, XMP_PACKET, encode
from bowerbird.curation.provenance import check
from bowerbird.curation.xmp import digital_source_type
from bowerbird.errors import RequestInvalid

Pixels = NDArray[np.uint8]
Published = dict[OutputFormat, bytes]

FORMATS = list(OutputFormat)
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def flipped(content: bytes, position: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def of_pixels(content: bytes) -> int:
    """A position inside the compressed pixels."""
    if content.startswith(b"\xff\xd8"):
        return len(content) - 40
    return content.index(b"IDAT" if b"IDAT" in content else b"VP8 ") + 60


def resaved(content: bytes, file_format: str) -> bytes:
    """What a platform that strips metadata leaves of a picture."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = Image.fromarray(np.asarray(image.convert("RGB")))
    file = io.BytesIO()
    pixels.save(file, file_format)
    return file.getvalue()


def signed_by(credentials: Credentials, content: bytes, media_type: str, *actions: Mapping[str, object]) -> bytes:
    manifest = {"title": "t", "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}]}
    return credentials.sign(content, media_type, manifest).content


def png(pixels: Pixels, xmp: str | None = None) -> bytes:
    file, chunks = io.BytesIO(), PngImagePlugin.PngInfo()
    if xmp is not None:
        chunks.add_itxt("XML:com.adobe.xmp", xmp)
    Image.fromarray(pixels).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def never_denies_ai(report: ProvenanceReport) -> bool:
    text = report.explanation.lower()
    return not any(claim in text for claim in ("not ai", "not made by", "no ai", "human", "authentic", "real photo"))


@pytest.mark.parametrize("output_format", FORMATS)
def test_our_own_picture_was_made_here(
    published: Published, credentials: Credentials, output_format: OutputFormat
) -> None:
    report = check(published[output_format], credentials)
    assert (report.outcome, report.validation_state, report.verdict) == ("detected", "trusted", "made_here_intact")
    assert (report.issuer, report.model) == ("Bowerbird development", "fledgling")
    assert report.digital_source_type == TRAINED_ALGORITHMIC_MEDIA
    assert report.generated_at is not None
    assert report.generated_at.endswith("Z")
    assert "signingCredential.trusted" in report.validation_codes


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_changed_pixel_is_told(published: Published, credentials: Credentials, output_format: OutputFormat) -> None:
    content = published[output_format]
    report = check(flipped(content, of_pixels(content)), credentials)
    assert (report.outcome, report.validation_state, report.verdict) == (
        "not_detected",
        "invalid",
        "made_here_modified",
    )
    assert "assertion.dataHash.mismatch" in report.validation_codes
    assert (report.issuer, report.model) == ("Bowerbird development", "fledgling")


@pytest.mark.parametrize("output_format", FORMATS)
def test_bytes_behind_the_picture_are_told(
    published: Published, credentials: Credentials, output_format: OutputFormat
) -> None:
    assert check(published[output_format] + b"more", credentials).verdict != "made_here_intact"


def test_a_manifest_that_was_moved_to_another_picture_is_told(
    published: Published, credentials: Credentials, birds: list[Pixels]
) -> None:
    """The signed chunk of one PNG, cut out and put into another: signed here, but not around this picture."""
    ours = published[OutputFormat.PNG]
    at = ours.index(b"caBX") - 4
    chunk = ours[at : at + 12 + int.from_bytes(ours[at : at + 4])]
    other = png(birds[3])
    report = check(other[:33] + chunk + other[33:], credentials)
    assert (report.verdict, report.validation_state) == ("made_here_modified", "invalid")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_stripped_picture_is_no_evidence_and_nothing_is_said_about_how_it_was_made(
    published: Published, credentials: Credentials, file_format: str
) -> None:
    report = check(resaved(published[OutputFormat.PNG], file_format), credentials)
    assert (report.outcome, report.validation_state, report.verdict) == ("not_detected", "not_present", "no_evidence")
    assert report.model is None
    assert report.digital_source_type is None
    assert "says nothing about how it was made" in report.explanation


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_declaration_without_a_signature_is_only_a_declaration(
    credentials: Credentials, birds: list[Pixels], output_format: OutputFormat
) -> None:
    report = check(encode(birds[0], output_format, 90), credentials)
    assert (report.outcome, report.validation_state, report.verdict) == (
        "not_detected",
        "not_present",
        "other_ai_declared",
    )
    assert report.digital_source_type == TRAINED_ALGORITHMIC_MEDIA


def test_a_picture_of_another_installation_is_valid_but_not_ours(published: Published, stranger: Credentials) -> None:
    report = check(published[OutputFormat.PNG], stranger)
    assert (report.outcome, report.validation_state, report.verdict) == (
        "not_detected",
        "valid",
        "other_ai_declared",
    )
    assert "signingCredential.untrusted" in report.validation_codes
    assert report.model == "fledgling"


def test_a_signed_photograph_is_no_evidence_and_not_declared_genuine(
    credentials: Credentials, stranger: Credentials, birds: list[Pixels]
) -> None:
    photo = signed_by(
        stranger,
        png(birds[1]),
        "image/png",
        {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + "digitalCapture", "softwareAgent": "Camera 1"},
    )
    report = check(photo, credentials)
    assert (report.verdict, report.validation_state) == ("no_evidence", "valid")
    assert report.digital_source_type == SOURCE_TYPES + "digitalCapture"
    assert never_denies_ai(report)


def test_our_signature_without_our_facts_is_not_a_picture_of_ours(
    credentials: Credentials, birds: list[Pixels]
) -> None:
    created = {"action": "c2pa.created", "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA, "softwareAgent": {"name": "x"}}
    report = check(signed_by(credentials, png(birds[1]), "image/png", created), credentials)
    assert (report.verdict, report.validation_state, report.model) == ("other_ai_declared", "trusted", "x")


def test_a_gif_is_read(credentials: Credentials, birds: list[Pixels]) -> None:
    created = {"action": "c2pa.created", "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA}
    gif = signed_by(credentials, resaved(png(birds[2]), "GIF"), "image/gif", created)
    assert check(gif, credentials).validation_state == "trusted"


def test_a_manifest_whose_signature_fails_proves_nothing_and_is_told(
    published: Published, credentials: Credentials
) -> None:
    content = published[OutputFormat.PNG]
    report = check(flipped(content, content.index(b"Bowerbird curation")), credentials)  # in the certificate
    assert report.validation_state == "invalid"
    assert report.verdict == "other_ai_declared"  # what is left is the XMP
    assert (report.issuer, report.model, report.generated_at) == (None, None, None)
    assert "nothing in that can be believed" in report.explanation


def test_a_manifest_that_cannot_be_parsed_is_told(published: Published, credentials: Credentials) -> None:
    content = published[OutputFormat.WEBP]
    at = content.index(MANIFEST_MARK)
    report = check(content.replace(content[at + 30 : at + 60], bytes(30)), credentials)
    assert (report.validation_state, report.verdict) == ("invalid", "other_ai_declared")
    assert report.validation_codes == []
    assert "nothing in that can be believed" in report.explanation


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_no_changed_bit_of_picture_or_facts_ever_passes_as_intact(
    published: Published, credentials: Credentials, output_format: OutputFormat, place: float, bit: int
) -> None:
    content = published[output_format]
    changed = flipped(content, int(place * len(content)), bit)
    try:
        report = check(changed, credentials)
    except RequestInvalid:
        return
    assert never_denies_ai(report)
    if report.verdict == "made_here_intact":
        # Only padding inside the manifest store is free: all that was signed, pixels and facts, is what it was.
        start, media_type = content.index(MANIFEST_MARK), MEDIA_TYPES[output_format]
        before, after = credentials.read(content, media_type), credentials.read(changed, media_type)
        assert before is not None
        assert after is not None
        assert start - 12 <= int(place * len(content)) < start + 6000
        assert before.assertion("org.bowerbird.origin") == after.assertion("org.bowerbird.origin")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"BM" + bytes(60), b"%PDF-1.7\n", b"RIFF\x10\0\0\0WAVE", b"\0\0\0\x1cftypavif"],
    ids=["empty", "text", "bmp", "pdf", "sound", "avif"],
)
def test_anything_but_the_four_formats_is_refused_and_they_are_named(content: bytes, credentials: Credentials) -> None:
    with pytest.raises(RequestInvalid, match="PNG, JPEG, WebP, GIF") as caught:
        check(content, credentials)
    assert caught.value.param == "file"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP"])
def test_a_file_that_ends_after_its_signature_is_no_evidence(content: bytes, credentials: Credentials) -> None:
    assert check(content, credentials).verdict == "no_evidence"


def test_a_truncated_picture_is_no_proof(published: Published, credentials: Credentials) -> None:
    content = published[OutputFormat.PNG]
    assert check(content[: len(content) // 2], credentials).verdict != "made_here_intact"


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (XMP_PACKET, TRAINED_ALGORITHMIC_MEDIA),
        (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<r:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType="urn:x"/>'
            "</r:RDF></x:xmpmeta>",
            "urn:x",
        ),
        ("<x:xmpmeta>not xml</x:xmpmeta>" + XMP_PACKET, TRAINED_ALGORITHMIC_MEDIA),
        ("<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>", None),
        ("<x:xmpmeta xmlns:x='adobe:ns:meta/'>", None),
        ('<x:xmpmeta xmlns:x="a"><!DOCTYPE x [<!ENTITY e "e">]>&e;</x:xmpmeta>', None),
        ("", None),
    ],
    ids=["element", "attribute", "second packet", "empty", "unended", "entity", "none"],
)
def test_xmp_is_read_in_every_spelling_and_hostile_packets_are_passed_over(packet: str, found: str | None) -> None:
    assert digital_source_type(b"\x00before" + packet.encode() + b"after") == found


def test_no_more_packets_are_read_than_a_real_file_has() -> None:
    empty = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    assert digital_source_type(empty * 15 + XMP_PACKET.encode()) == TRAINED_ALGORITHMIC_MEDIA
    assert digital_source_type(empty * 16 + XMP_PACKET.encode()) is None


def test_xmp_that_names_a_camera_is_no_declaration_of_ai(credentials: Credentials, birds: list[Pixels]) -> None:
    packet = XMP_PACKET.replace("trainedAlgorithmicMedia", "digitalCapture")
    report = check(png(birds[0], packet), credentials)
    assert report.verdict == "no_evidence"
    assert report.digital_source_type == SOURCE_TYPES + "digitalCapture"


def test_a_picture_that_was_composed_with_a_model_is_declared_too(
    credentials: Credentials, birds: list[Pixels]
) -> None:
    packet = XMP_PACKET.replace("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
    assert check(png(birds[0], packet), credentials).verdict == "other_ai_declared"
