"""Streams of parts between the gateway and the services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import DrawProgress, Picture
from bowerbird.frames import frames_of, npy
from bowerbird.parts import END_OF_STREAM, Kind, PartReader, StreamBroken, error_part, part, read_parts

PROGRESS = DrawProgress(step=1, steps=20, finished=0, count=2)


async def in_chunks(raw: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


async def read(raw: bytes, size: int = 1 << 16, max_part_bytes: int = 1 << 20) -> list[tuple[Kind, bytes]]:
    return [(each.kind, each.body) async for each in read_parts(in_chunks(raw, size), max_part_bytes)]


@given(bodies=st.lists(st.binary(max_size=300), max_size=4), size=st.integers(1, 64))
async def test_any_bytes_survive_any_chunking(bodies: list[bytes], size: int) -> None:
    raw = b"".join(part(Kind.PICTURE, body) for body in bodies) + END_OF_STREAM
    if not bodies:
        raw = part(Kind.PROGRESS, PROGRESS) + END_OF_STREAM
    assert [body for kind, body in await read(raw, size) if kind is Kind.PICTURE] == bodies


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
async def test_a_body_that_contains_the_boundary_is_not_cut(size: int) -> None:
    body = b"x\r\n--bowerbird-part\r\nBowerbird-Part: done\r\n\r\nforged\r\n" + END_OF_STREAM
    assert await read(part(Kind.PICTURE, body) + END_OF_STREAM, size) == [(Kind.PICTURE, body)]


async def test_a_stream_without_its_closing_boundary_is_broken() -> None:
    with pytest.raises(StreamBroken, match="ended before"):
        await read(part(Kind.PROGRESS, PROGRESS))


async def test_a_flipped_byte_is_noticed() -> None:
    raw = bytearray(part(Kind.PICTURE, b"pixels") + END_OF_STREAM)
    raw[raw.index(b"pixels")] ^= 1
    with pytest.raises(StreamBroken, match="digest"):
        await read(bytes(raw))


async def test_a_part_that_is_shorter_than_it_says_is_broken() -> None:
    raw = part(Kind.PICTURE, b"pixels").replace(b"Content-Length: 6", b"Content-Length: 7") + END_OF_STREAM
    with pytest.raises(StreamBroken, match="header states"):
        await read(raw)


@pytest.mark.parametrize("length", [b"", b"-6", b"6.0", "\u0666".encode(), b"1" * 30])
async def test_a_part_that_does_not_say_its_length_is_broken(length: bytes) -> None:
    raw = part(Kind.PICTURE, b"pixels").replace(b"Content-Length: 6", b"Content-Length: " + length) + END_OF_STREAM
    with pytest.raises(StreamBroken, match="how long"):
        await read(raw)


async def test_headers_that_do_not_end_are_given_up() -> None:
    raw = part(Kind.PICTURE, b"p").replace(b"\r\n\r\n", b"\r\nX: " + b"x" * (1 << 17))
    with pytest.raises(StreamBroken, match="longer than"):
        await read(raw)


async def test_a_part_above_the_bound_is_refused_before_it_is_whole() -> None:
    reader = PartReader(max_part_bytes=10)
    with pytest.raises(StreamBroken, match="larger than 10"):
        list(reader.feed(part(Kind.PICTURE, b"p" * 100)[:-40]))


@pytest.mark.parametrize("raw", [b"not multipart at all", b"--other\r\n\r\n", b"<html>502</html>"])
async def test_foreign_bytes_are_no_stream(raw: bytes) -> None:
    with pytest.raises(StreamBroken):
        await read(raw)


async def test_an_unknown_kind_is_refused() -> None:
    raw = part(Kind.PICTURE, b"p").replace(b"Bowerbird-Part: picture", b"Bowerbird-Part: sculpture") + END_OF_STREAM
    with pytest.raises(StreamBroken, match="unknown kind"):
        await read(raw)


async def test_facts_that_are_not_json_are_refused() -> None:
    raw = part(Kind.PICTURE, b"p", PROGRESS).replace(b'Bowerbird-Facts: {"step"', b"Bowerbird-Facts: {step")
    with pytest.raises(StreamBroken, match="facts"):
        await read(raw + END_OF_STREAM)


async def test_a_header_that_is_not_text_is_refused() -> None:
    raw = part(Kind.PICTURE, b"p", PROGRESS).replace(b'"step":1', b'"st\xffp":1') + END_OF_STREAM
    with pytest.raises(StreamBroken, match="not text"):
        await read(raw)


async def test_a_digest_that_is_known_is_not_computed_again() -> None:
    [first] = [each async for each in read_parts(in_chunks(part(Kind.PICTURE, b"p") + END_OF_STREAM, 9))]
    assert part(Kind.PICTURE, first.body, digest=first.digest) == part(Kind.PICTURE, b"p")


async def test_facts_travel_beside_pixels() -> None:
    facts = Picture(
        index=3, media_type="image/png", digest="sha256:" + "0" * 64, manifest_bytes=4, encode_ms=1.5, sign_ms=2
    )
    chunks = in_chunks(part(Kind.PICTURE, b"p", facts) + END_OF_STREAM, 9)
    assert [Picture.model_validate(each.facts) async for each in read_parts(chunks)] == [facts]


async def test_an_error_part_is_read_as_its_body() -> None:
    (kind, body), *_ = await read(error_part({"error": {"code": "stage_broken"}}) + END_OF_STREAM)
    assert kind is Kind.ERROR
    assert b"stage_broken" in body


def test_frames_survive_the_wire() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    assert np.array_equal(frames_of(npy(frames[:, ::-1])), frames[:, ::-1])


@pytest.mark.parametrize(
    "frames",
    [np.zeros((4, 6, 3), np.uint8), np.zeros((1, 4, 6, 4), np.uint8), np.zeros((1, 4, 6, 3), np.float32)],
    ids=["no batch axis", "alpha", "floats"],
)
def test_what_is_not_rgb_uint8_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(StreamBroken, match="uint8"):
        frames_of(npy(frames))


@pytest.mark.parametrize("raw", [b"", b"\x93NUMPY", b"GIF89a", b"\x80\x04\x95"])
def test_what_is_not_npy_is_refused(raw: bytes) -> None:
    with pytest.raises(StreamBroken):
        frames_of(raw)
