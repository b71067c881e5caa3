"""What leaves: encoded pixels with XMP and a signed manifest, or nothing."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bowerbird import __version__
from bowerbird.contracts import Contract, OutputFormat, PublishRequest, Size, Unfinished
from bowerbird.curation.certificates import SigningIdentity
from bowerbird.curation.credentials import Credentials, Ingredient, Signed, SigningFailed
from bowerbird.curation.encoding import (
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    MEDIA_TYPES,
    TRAINED_ALGORITHMIC_MEDIA,
    encode,
)
from bowerbird.curation.manifest import ORIGINAL
from bowerbird.curation.provenance import check
from bowerbird.curation.publishing import Publisher
from bowerbird.curation.xmp import digital_source_type
from bowerbird.errors import LabelFailed

Pixels = NDArray[np.uint8]
Make = Callable[..., PublishRequest]

FORMATS = list(OutputFormat)


def decoded(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_carries_a_trusted_manifest(
    published: dict[OutputFormat, bytes], credentials: Credentials, output_format: OutputFormat
) -> None:
    credential = credentials.read(published[output_format], MEDIA_TYPES[output_format])
    assert credential is not None
    assert credential.state == "trusted"
    assert credential.failures == []
    assert {"claimSignature.validated", "assertion.dataHash.match", "signingCredential.trusted"} <= set(
        credential.passed
    )


def test_the_manifest_names_everything_that_made_the_picture(
    published: dict[OutputFormat, bytes], credentials: Credentials, publish_request: Make
) -> None:
    origin = publish_request(OutputFormat.PNG).origin
    credential = credentials.read(published[OutputFormat.PNG], "image/png")
    assert credential is not None
    assert credential.assertion("org.bowerbird.origin") == {
        "request_id": origin.request_id,
        "trace_id": origin.trace_id,
        "model": origin.model,
        "model_digest": origin.model_digest,
        "seed_digest": origin.seed_digests[0],
        "safety_policy": origin.policy.model_dump(),
        "services": origin.services,
        "loras": origin.loras,
    }
    (created,) = credential.actions()
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == TRAINED_ALGORITHMIC_MEDIA
    assert created["softwareAgent"] == {"name": "fledgling", "version": origin.model_digest}
    generator = credential.active["claim_generator_info"][0]
    assert (generator["name"], generator["version"]) == ("Bowerbird", __version__)


def test_the_manifest_has_no_thumbnail_and_stays_small(
    published: dict[OutputFormat, bytes], credentials: Credentials
) -> None:
    credential = credentials.read(published[OutputFormat.PNG], "image/png")
    assert credential is not None
    assert "thumbnail" not in json.dumps(credential.active)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_preview_is_as_large_as_its_picture_and_its_label_says_that_it_is_none(
    credentials: Credentials, birds: list[Pixels], publish_request: Make, output_format: OutputFormat
) -> None:
    small = birds[0][::4, ::4]
    unfinished = Unfinished(step=6, steps=20, size=Size(width=256, height=192))
    wanted = publish_request(output_format).model_copy(update={"preview": unfinished})
    picture, content = Publisher(credentials).publish(0, small, wanted)
    assert decoded(content).shape == (192, 256, 3)
    credential = credentials.read(content, picture.media_type)
    assert credential is not None
    assert credential.state == "trusted"
    origin = credential.assertion("org.bowerbird.origin")
    assert origin is not None
    assert origin["preview"] == {"step": 6, "steps": 20}
    assert digital_source_type(content) == TRAINED_ALGORITHMIC_MEDIA


def test_nothing_that_is_published_could_hold_a_prompt() -> None:
    """Origin is closed: a prompt, a tenant or a user has no field to travel in."""
    from bowerbird.contracts import Origin, SpeciesOrigin

    assert issubclass(Origin, Contract)
    assert set(Origin.model_fields) == {
        "request_id", "trace_id", "model", "model_digest", "seed_digests", "policy", "services", "loras",
        "species",
    }  # fmt: skip
    assert set(SpeciesOrigin.model_fields) == {"template", "families", "family", "lora", "without_lora"}


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_declaration_in_xmp_is_read_by_pillow_and_by_us(
    published: dict[OutputFormat, bytes], output_format: OutputFormat
) -> None:
    with Image.open(io.BytesIO(published[output_format])) as image:
        description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert description["DigitalSourceType"] == TRAINED_ALGORITHMIC_MEDIA
    assert digital_source_type(published[output_format]) == TRAINED_ALGORITHMIC_MEDIA


def test_a_png_keeps_every_pixel(published: dict[OutputFormat, bytes], birds: list[Pixels]) -> None:
    assert np.array_equal(decoded(published[OutputFormat.PNG]), birds[0])


@pytest.mark.parametrize("output_format", [OutputFormat.WEBP, OutputFormat.JPEG])
def test_compression_is_the_quality_of_webp_and_jpeg(birds: list[Pixels], output_format: OutputFormat) -> None:
    files = [encode(birds[1], output_format, quality) for quality in (0, 50, 89, 90, 100)]
    assert sorted(files, key=len) == files
    errors = [np.abs(decoded(file).astype(int) - birds[1]).mean() for file in files]
    assert sorted(errors, reverse=True) == errors


def test_compression_changes_nothing_about_a_png(birds: list[Pixels]) -> None:
    assert encode(birds[1], OutputFormat.PNG, 0) == encode(birds[1], OutputFormat.PNG, 100)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_picture_of_one_pixel_is_labelled_too(
    credentials: Credentials, publish_request: Make, output_format: OutputFormat
) -> None:
    picture, content = Publisher(credentials).publish(0, np.zeros((1, 1, 3), np.uint8), publish_request(output_format))
    assert decoded(content).shape == (1, 1, 3)
    assert picture.manifest_bytes > 0


def test_the_facts_of_a_picture_are_those_of_its_bytes(
    credentials: Credentials, birds: list[Pixels], publish_request: Make
) -> None:
    picture, content = Publisher(credentials).publish(2, birds[2], publish_request(OutputFormat.WEBP, count=3))
    assert picture.index == 2
    assert picture.media_type == "image/webp"
    assert picture.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert 0 < picture.manifest_bytes < len(content)
    credential = credentials.read(content, "image/webp")
    assert credential is not None
    origin = credential.assertion("org.bowerbird.origin")
    assert origin is not None
    assert origin["seed_digest"] == f"sha256:{2:064x}"


def test_many_threads_sign_with_one_certificate(
    credentials: Credentials, birds: list[Pixels], publish_request: Make
) -> None:
    publisher = Publisher(credentials)
    barrier = threading.Barrier(4)

    def publish(index: int) -> tuple[Any, bytes]:
        if index < 4:
            barrier.wait()
        return publisher.publish(index, birds[index % 4][:64, :64], publish_request(FORMATS[index % 3], count=10))

    with ThreadPoolExecutor(4) as threads:
        pictures = list(threads.map(publish, range(10)))
    assert [picture.index for picture, _ in pictures] == list(range(10))
    assert len({picture.digest for picture, _ in pictures}) == 10


class Losing(Credentials):
    """A signer whose manifests never arrive in the file."""

    def sign(self, content: bytes, media_type: str, manifest: dict[str, Any], original: Any = None) -> Signed:
        return Signed(content, super().sign(content, media_type, manifest).manifest_bytes)


class Refusing(Credentials):
    """A signer that is out of order."""

    def sign(self, content: bytes, media_type: str, manifest: dict[str, Any], original: Any = None) -> Signed:
        raise SigningFailed("the key store does not answer")


@pytest.mark.parametrize("broken", [Losing, Refusing])
def test_what_cannot_be_labelled_does_not_leave(
    identity: SigningIdentity, birds: list[Pixels], publish_request: Make, broken: type[Credentials]
) -> None:
    with pytest.raises(LabelFailed, match="does not leave"):
        Publisher(broken(identity)).publish(0, birds[0], publish_request(OutputFormat.PNG))


def test_a_signature_that_nobody_would_trust_does_not_leave(
    identity: SigningIdentity, stranger: Credentials, birds: list[Pixels], publish_request: Make
) -> None:
    """Signed well, but by a certificate that our own anchors do not know: what an exchanged root would look like."""

    class Foreign(Credentials):
        def sign(self, content: bytes, media_type: str, manifest: dict[str, Any], original: Any = None) -> Signed:
            return stranger.sign(content, media_type, manifest)

    with pytest.raises(LabelFailed) as caught:
        Publisher(Foreign(identity)).publish(0, birds[0], publish_request(OutputFormat.JPEG))
    assert "valid" in str(caught.value.__cause__)


def test_pixels_that_pillow_cannot_encode_do_not_leave(credentials: Credentials, publish_request: Make) -> None:
    with pytest.raises(LabelFailed):
        Publisher(credentials).publish(0, np.zeros((1, 70_000, 3), np.uint8), publish_request(OutputFormat.JPEG))


@pytest.fixture(params=[False, True], ids=["plain", "signed"])
def original(request: pytest.FixtureRequest, birds: list[Pixels], published: dict[OutputFormat, bytes]) -> Ingredient:
    """What an edit begins with: a photograph, or a picture that was made here."""
    content = published[OutputFormat.JPEG] if request.param else encode(birds[1], OutputFormat.JPEG, 90)
    return Ingredient(ORIGINAL, "image/jpeg", content)


@pytest.mark.parametrize("output_format", FORMATS)
def test_an_edit_names_what_it_began_with(
    credentials: Credentials,
    birds: list[Pixels],
    original: Ingredient,
    publish_request: Make,
    output_format: OutputFormat,
) -> None:
    signed = credentials.read(original.content, original.media_type) is not None
    wanted = publish_request(output_format).model_copy(update={"source": "image/jpeg"})
    picture, edited = Publisher(credentials).publish(0, birds[0], wanted, original)

    credential = credentials.read(edited, picture.media_type)
    assert credential is not None
    assert (credential.state, credential.failures) == ("trusted", [])
    [ingredient] = credential.active["ingredients"]
    assert ingredient["relationship"] == "parentOf"
    assert ("active_manifest" in ingredient) is signed
    assert len(credential.others) == signed
    opened, made = credential.actions()
    assert (opened["action"], made["action"]) == ("c2pa.opened", "c2pa.edited")
    assert made["softwareAgent"]["name"] == "fledgling"
    assert made["digitalSourceType"] == COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    assert digital_source_type(edited) == COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    report = check(edited, credentials)
    assert (report.verdict, report.model) == ("made_here_intact", "fledgling")
    assert report.generated_at is not None
    assert "thumbnail" not in json.dumps(credential.active)
