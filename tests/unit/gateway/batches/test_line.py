"""A line of a batch: what is read of any bytes, and which error is whose."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import MAX_FILE_BYTES
from bowerbird.errors import BowerbirdError, FieldUnknown, LineErased, LineUnreadable, RequestInvalid
from bowerbird.gateway.api.batch_bodies import EDITS, GENERATIONS, MODERATIONS
from bowerbird.gateway.api.batch_edit import EditPictures, upload_of
from bowerbird.gateway.api.batch_line import KINDS, ReadLine, answered, read_line, refused
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.batches.batch import BatchClaim, BatchState
from bowerbird.gateway.files.jsonl import RawLine
from bowerbird.gateway.files.persons import erased

CLAIM = BatchClaim("batch_1", "birds", 1, BatchState.IN_PROGRESS, GENERATIONS, "file-1", None, None, "en", 0.0)
PICTURE = "data:image/png;base64," + base64.b64encode(b"picture").decode()
SECRET = "a robin named Adelheid"


def raw(content: bytes, number: int = 1) -> RawLine:
    return RawLine(number, 0, len(content), content)


def line(body: Any = None, url: str = GENERATIONS, **changes: Any) -> bytes:
    fields = {"custom_id": "robin-1", "method": "POST", "url": url, "body": body or {"prompt": SECRET}}
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not ...}).encode()


async def read(content: bytes, endpoint: str = GENERATIONS) -> ReadLine:
    return await read_line(endpoint, raw(content))


async def test_a_line_is_the_request_that_its_body_is() -> None:
    found = await read(line({"prompt": SECRET, "seed": 7, "steps": 2, "size": "auto"}))
    assert isinstance(found.asked, GenerateImages)
    assert (found.custom_id, found.asked.seed, found.asked.prompt) == ("robin-1", 7, SECRET)
    assert (await read(b"\xef\xbb\xbf" + line())).custom_id == "robin-1"


@pytest.mark.parametrize(
    ("content", "kind", "param"),
    [
        (b"{", LineUnreadable, None),
        (b"[]", LineUnreadable, None),
        (b"42", LineUnreadable, None),
        (b'"a line"', LineUnreadable, None),
        (b"\x1f\x8b\x08\x00 no text", LineUnreadable, None),
        (b"\xff\xfe{}", LineUnreadable, None),
        (b"{" * 100_000, LineUnreadable, None),
        (b'{"a":' * 100_000, LineUnreadable, None),
        (b"[" * 100_000 + b"]" * 100_000, LineUnreadable, None),
        (line(custom_id=...), LineUnreadable, "custom_id"),
        (line(custom_id=3), LineUnreadable, "custom_id"),
        (line(custom_id="a\nb"), LineUnreadable, "custom_id"),
        (line(custom_id="x" * 513), LineUnreadable, "custom_id"),
        (line(method="GET"), LineUnreadable, "method"),
        (line(url=MODERATIONS), LineUnreadable, "url"),
        (line(body=...), LineUnreadable, "body"),
        (line(body="text"), LineUnreadable, "body"),
        (line(priority=1), LineUnreadable, "priority"),
        (line({"prompt": SECRET, "stream": True}), LineUnreadable, "body.stream"),
        (line({"prompt": SECRET, "n": "3"}), RequestInvalid, "n"),
        (line({"prompt": SECRET, "style": "vivid"}), FieldUnknown, "style"),
        (line({"seed": 7}), RequestInvalid, "prompt"),
        (line({"prompt": " " + SECRET * 500}), RequestInvalid, "prompt"),
        (erased(120, "crisis_support", "robin-1"), LineErased, None),
        (erased(30, "person"), LineErased, None),
    ],
)
async def test_what_is_wrong_with_a_line_is_its_own_error_and_says_nothing_of_its_prompt(
    content: bytes, kind: type[BowerbirdError], param: str | None
) -> None:
    found = await read(content)
    assert type(found.asked) is kind, found.asked
    assert found.asked.param == param
    outcome = refused(CLAIM, found, found.asked)
    assert outcome.text.endswith(b"\n")
    assert SECRET.encode() not in outcome.text
    said = json.loads(outcome.text)
    assert set(said) == {"id", "custom_id", "response", "error"}
    assert (said["response"] is None) == (kind in (LineUnreadable, LineErased))


async def test_a_line_that_is_longer_than_any_is_not_held() -> None:
    found = await read_line(GENERATIONS, RawLine(3, 0, 10**9, None))
    assert isinstance(found.asked, LineUnreadable)
    assert str(KINDS[GENERATIONS].max_bytes) in found.asked.message


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


JSON = ANYTHING.map(lambda value: json.dumps(value).encode())


@given(content=st.binary(max_size=200) | JSON, endpoint=st.sampled_from(list(KINDS)))
async def test_no_bytes_break_the_reader_of_lines(content: bytes, endpoint: str) -> None:
    found = await read(content, endpoint)
    assert isinstance(found.asked, BowerbirdError)
    json.loads(refused(CLAIM, found, found.asked).text)


@given(body=ANYTHING, custom_id=ANYTHING, endpoint=st.sampled_from(list(KINDS)))
async def test_no_body_breaks_the_reader_of_lines(body: Any, custom_id: Any, endpoint: str) -> None:
    found = await read(line(body or 0, endpoint, custom_id=custom_id), endpoint)
    if isinstance(found.asked, BowerbirdError):
        json.loads(refused(CLAIM, found, found.asked).text)


async def test_an_answer_is_a_line_of_its_own_with_the_body_as_it_is() -> None:
    found = await read(line(custom_id='a "robin" ✓'))
    said = json.loads(answered(CLAIM, found, b'{"created": 1}'))
    assert said == {
        "id": "batch_req_1-1",
        "custom_id": 'a "robin" ✓',
        "response": {"status_code": 200, "request_id": "batch_1-1", "body": {"created": 1}},
        "error": None,
    }


@pytest.mark.parametrize(
    "picture",
    [
        {"image": PICTURE},
        {"image": {"image_url": PICTURE}},
        {"images": [{"image_url": PICTURE}]},
        {"images": [PICTURE]},
    ],
)
async def test_an_edits_picture_is_a_data_url(picture: dict[str, Any]) -> None:
    found = await read(line({"prompt": SECRET, **picture, "mask": PICTURE, "strength": 0.5}, EDITS), EDITS)
    assert isinstance(found.asked, EditPictures), found.asked
    upload = await upload_of(found.asked)
    assert upload.mask is not None
    assert (await upload.image(), await upload.mask(), upload.strength) == (b"picture", b"picture", 0.5)


@pytest.mark.parametrize(
    ("picture", "param"),
    [
        ({}, "image"),
        ({"image": "https://birds.example/robin.png"}, "image"),
        ({"image": "file:///etc/passwd"}, "image"),
        ({"image": "data:image/png,plain"}, "image"),
        ({"image": "data:image/png;base64,"}, "image"),
        ({"image": "data:image/png;base64,a b"}, "image"),
        ({"image": {"file_id": "file-1"}}, "image"),
        ({"image": PICTURE, "mask": "x"}, "mask"),
        ({"images": [PICTURE, PICTURE]}, "image"),
        ({"image": PICTURE, "images": [PICTURE]}, "images"),
        ({"image": PICTURE, "lora": []}, "lora"),
    ],
)
async def test_what_is_no_data_url_is_named_and_not_shown(picture: dict[str, Any], param: str) -> None:
    found = await read(line({"prompt": SECRET, **picture}, EDITS), EDITS)
    assert isinstance(found.asked, RequestInvalid), found.asked
    assert found.asked.param == param
    assert "passwd" not in found.asked.message


async def test_pictures_are_no_larger_than_those_of_a_form() -> None:
    large = "data:image/png;base64," + base64.b64encode(bytes(MAX_FILE_BYTES // 2 + 1)).decode()
    content = line({"prompt": SECRET, "image": large, "mask": large}, EDITS)
    assert len(content) <= KINDS[EDITS].max_bytes
    found = await read(content, EDITS)
    assert isinstance(found.asked, EditPictures)
    with pytest.raises(RequestInvalid, match=str(MAX_FILE_BYTES)):
        await upload_of(found.asked)
    with pytest.raises(RequestInvalid, match="no base64"):
        await upload_of(found.asked.model_copy(update={"image": "data:;base64,abcde"}))
