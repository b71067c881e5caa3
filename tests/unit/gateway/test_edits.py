"""`POST /v1/images/edits`: the chain that begins with a picture, and forms that it does not take."""

from __future__ import annotations

import base64
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import ImageEditCompletedEvent, ImageEditPartialImageEvent

from bowerbird.contracts import MAX_FILE_BYTES, Action, ModelCosts, SizeCosts
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.edit_request import MAX_FORM_BYTES

from .conftest import PROMPT, StartGateway, pictures
from .stand_ins import MODEL, POLICY, StandIns, decision, frame, verdicts
from .test_stream import Events

EDITS = "/v1/images/edits"
SECRET = "zzsecretzz"
BIRD, HOLE = b"a bird", b"a hole"

Parts = list[tuple[str, tuple[str | None, bytes]]]


def edit(
    gateway: httpx2.Client,
    *,
    image: bytes | None = BIRD,
    mask: bytes | None = None,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx2.Response:
    texts = {"prompt": PROMPT, **{name: str(value).lower() for name, value in fields.items()}}
    files = {"image": image, "mask": mask}
    parts: Parts = [(name, (None, text.encode())) for name, text in texts.items()]
    parts += [(name, (f"{name}.png", content)) for name, content in files.items() if content]
    return gateway.post(EDITS, files=parts, headers=headers)


def test_an_edit_is_drawn_from_the_picture_as_curation_opened_it(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = edit(gateway, n=2, seed=100, steps=10, strength=0.5, output_format="webp", user="hash")

    assert answer.status_code == 200
    assert pictures(answer) == [frame(100, 3_200), frame(101, 3_200)]
    assert answer.json()["safety_identifier"] == "hash"
    assert answer.json()["bowerbird"]["source"] == "fresh"
    [opened], [drawn] = stages.asked("/open"), stages.asked("/draw")
    assert (opened.files, str(opened.asked.size), opened.asked.masked) == ([BIRD], "32x32", False)
    assert drawn.frames == [b"frame of " + BIRD]
    assert (drawn.asked.steps, drawn.asked.beginning.strength, drawn.asked.beginning.masked) == (10, 0.5, False)


def test_safety_sees_the_picture_before_anything_is_drawn(gateway: httpx2.Client, stages: StandIns) -> None:
    edit(gateway)

    paths = [each.path for each in stages.seen]
    first = paths.index("/check_images")
    assert paths[: first + 1] == ["/check_prompt", "/open", "/check_images"]
    assert stages.seen[first].frames == [b"frame of " + BIRD]


def test_a_picture_that_safety_refuses_is_drawn_from_by_nobody(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, frozenset({0}))
    answer = edit(gateway)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "image_blocked", "image")
    assert error["policy"] == POLICY.model_dump()
    assert not stages.asked("/draw")


def test_a_prompt_that_safety_refuses_is_refused_before_the_file_goes_anywhere(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK)

    assert edit(gateway).json()["error"]["code"] == "moderation_blocked"
    assert {each.path for each in stages.seen} == {"/check_prompt"}


def test_a_mask_goes_along_and_the_edit_is_as_strong_as_can_be(gateway: httpx2.Client, stages: StandIns) -> None:
    assert edit(gateway, mask=HOLE).status_code == 200

    [opened], [drawn] = stages.asked("/open"), stages.asked("/draw")
    assert (opened.files, opened.asked.masked) == ([BIRD, HOLE], True)
    assert drawn.frames == [b"frame of " + BIRD, b"frame of " + HOLE]
    assert (drawn.asked.beginning.strength, drawn.asked.beginning.masked) == (1.0, True)


def test_a_picture_may_be_its_own_mask(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.transparent = True
    assert edit(gateway).status_code == 200

    assert stages.asked("/draw")[0].asked.beginning.masked
    assert stages.asked("/draw")[0].asked.beginning.strength == 1.0


@pytest.mark.parametrize(("steps", "strength"), [(20, 0.6), (1, 1.0)])
def test_without_a_mask_something_of_the_picture_stays(
    gateway: httpx2.Client, stages: StandIns, steps: int, strength: float
) -> None:
    edit(gateway, steps=steps)
    assert stages.asked("/draw")[0].asked.beginning.strength == strength


def test_the_file_goes_into_the_label(gateway: httpx2.Client, stages: StandIns) -> None:
    edit(gateway, seed=1)

    [published] = stages.asked("/publish")
    assert (published.asked.source, published.files) == ("image/png", [BIRD])
    assert published.frames == [frame(1, 3_200)]


def test_what_curation_says_of_a_file_is_the_callers_answer(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/open"] = lambda: RequestInvalid("mask: it is too small.", param="mask")
    answer = edit(gateway, mask=HOLE)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "mask")
    assert not stages.asked("/draw")


def test_an_edit_costs_the_steps_it_makes_and_its_picture(start_gateway: StartGateway, stages: StandIns) -> None:
    sizes = [SizeCosts(size=size, encode=1, step=1, decode=2, read=5) for size in MODEL.sizes]
    costs = ModelCosts(unit_seconds=0.001, guided_rows=2, sizes=sizes)
    stages.behaviour.described = MODEL.model_copy(update={"costs": costs})
    gateway = start_gateway()

    def units() -> float:
        return sum(float(each["compute_units"]) for each in gateway.get("/v1/usage").json()["data"])

    assert edit(gateway, steps=10, strength=0.5).status_code == 200
    assert units() == pytest.approx(1 + 5 + 5 * 2 + 2)


def test_an_edit_is_never_answered_with_what_was_drawn_before(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(result_bytes=10_000_000)
    for _ in range(2):
        assert edit(gateway, seed=7).status_code == 200

    assert len(stages.asked("/draw")) == 2


def test_an_edit_is_streamed_with_events_of_its_own(gateway: httpx2.Client, stages: StandIns) -> None:
    body = {"prompt": PROMPT, "stream": "true", "partial_images": "3", "steps": "20", "strength": "0.5"}
    files = {"image": ("x", BIRD)}
    with gateway.stream("POST", EDITS, data=body, files=files) as answer:
        events = Events(answer, answer.iter_lines()).named()

    assert stages.asked("/draw")[0].asked.preview_steps == 2
    *previews, (name, completed) = events
    assert name == "image_edit.completed"
    ImageEditCompletedEvent.model_validate(completed, strict=True)
    for name, preview in previews:  # as many as came before the picture did
        assert name == "image_edit.partial_image"
        ImageEditPartialImageEvent.model_validate(preview, strict=True)
    assert base64.b64decode(completed["b64_json"])
    assert all(each.files == [BIRD] for each in stages.asked("/publish"))


# fields and files, status, code, param
BadForm = tuple[dict[str, Any], int, str, str]
BAD_FORMS: list[BadForm] = [
    ({"image": None}, 400, "invalid_value", "image"),
    ({"n": "two"}, 400, "invalid_value", "n"),
    ({"n": 0}, 400, "invalid_value", "n"),
    ({"strength": 0}, 400, "invalid_value", "strength"),
    ({"strength": 1.01}, 400, "invalid_value", "strength"),
    ({"strength": "nan"}, 400, "invalid_value", "strength"),
    ({"strength": 0.04, "steps": 20}, 400, "invalid_value", "strength"),
    ({"size": "1024x1024"}, 400, "unsupported_size", "size"),
    ({"model": "dall-e-2"}, 404, "model_not_found", "model"),
    ({"output_format": "gif"}, 400, "invalid_value", "output_format"),
    ({"input_fidelity": "high"}, 400, "unknown_parameter", "input_fidelity"),
    ({"cache": "any"}, 400, "unknown_parameter", "cache"),
    ({"lora": "x"}, 400, "unknown_parameter", "lora"),
    ({"svg[model]": "x"}, 400, "unknown_parameter", "svg[model]"),
    ({"partial_images": 1}, 400, "unknown_parameter", "partial_images"),
    ({"stream": "true", "n": 2}, 400, "invalid_value", "n"),
    ({"guidance": 3}, 400, "unknown_parameter", "guidance"),
]


@pytest.mark.parametrize("case", BAD_FORMS, ids=lambda case: str(case[0])[:40])
def test_a_bad_field_is_named(gateway: httpx2.Client, stages: StandIns, case: BadForm) -> None:
    fields, status, code, param = case
    answer = edit(gateway, **{"prompt": f"a {SECRET} robin", **fields})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert SECRET not in answer.text
    assert not stages.seen


BAD_PARTS: list[tuple[Parts, str]] = [
    ([("image", (None, b"text"))], "image"),
    ([("image", ("a", BIRD)), ("image", ("b", BIRD))], "image"),
    ([("image[]", ("a", BIRD)), ("image[]", ("b", BIRD))], "image"),
    ([("image", ("a", BIRD)), ("mask", (None, b"text"))], "mask"),
    ([("image", ("a", BIRD)), ("n", ("n.txt", b"1"))], "n"),
    ([("image", ("a", BIRD)), ("markup", ("m.png", b"1"))], "markup"),
    ([("image", ("a", BIRD)), ("steps", (None, b"2")), ("steps", (None, b"3"))], "steps"),
    ([("image", ("a", b""))], "image"),
]


@pytest.mark.parametrize("case", BAD_PARTS, ids=lambda case: str([name for name, _ in case[0]]))
def test_a_part_that_is_not_what_its_name_wants_is_named(
    gateway: httpx2.Client, stages: StandIns, case: tuple[Parts, str]
) -> None:
    parts, param = case
    answer = gateway.post(EDITS, files=[("prompt", (None, b"a robin")), *parts])

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not stages.seen


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\\..\\b.png", "CON", "x" * 4_000, 'a"; name="mask', "a\r\nb: c", ""]
)
def test_a_files_name_is_nobodys_business(gateway: httpx2.Client, stages: StandIns, name: str) -> None:
    answer = gateway.post(EDITS, data={"prompt": PROMPT}, files={"image": (name or "x", BIRD, "text/html")})

    assert answer.status_code == 200
    assert stages.asked("/open")[0].files == [BIRD]


def test_a_list_of_one_picture_is_a_picture(gateway: httpx2.Client) -> None:
    assert gateway.post(EDITS, data={"prompt": PROMPT}, files=[("image[]", ("a.png", BIRD))]).status_code == 200


@pytest.mark.parametrize("stated", [True, False])
def test_more_than_ten_megabytes_are_not_read(gateway: httpx2.Client, stages: StandIns, stated: bool) -> None:
    where = urlsplit(str(gateway.base_url))
    head = [
        f"POST {EDITS} HTTP/1.1",
        "Host: x",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {MAX_FORM_BYTES + 1}" if stated else "Transfer-Encoding: chunked",
    ]
    opening = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    with socket.create_connection((where.hostname or "", where.port or 0)) as client:
        client.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        if not stated:
            client.sendall(b"%x\r\n%b\r\n" % (len(opening), opening))
            megabyte = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
            for _ in range(MAX_FILE_BYTES // 2**20 + 1):
                client.sendall(megabyte)
        assert client.recv(100).startswith(b"HTTP/1.1 413")
    assert not stages.seen


def test_a_model_without_an_encoder_edits_nothing(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"edits": False})
    answer = edit(start_gateway())

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [
                    b"--b\r\n",
                    b"--b--\r\n",
                    b"\r\n",
                    b"\r\n\r\n",
                    b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n',
                    b'Content-Disposition: form-data; name="prompt"\r\n\r\n',
                    b'Content-Disposition: form-data; name="',
                    b"Content-Disposition: attachment\r\n",
                    b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n",
                    b"Content-Transfer-Encoding: base64\r\n",
                    b"a robin",
                    b"\xff\xfe\x00",
                    b"x" * 5_000,
                ]
            ),
            max_size=12,
        ).map(b"".join),
    ),
    boundary=st.sampled_from(["b", '"b"', "", "b; charset=nonsense", "b" * 300, "ü"]),
)
def test_whatever_form_is_sent_is_taken_or_refused(gateway: httpx2.Client, body: bytes, boundary: str) -> None:
    media_type = f"multipart/form-data; boundary={boundary}".encode()
    answer = gateway.post(EDITS, content=body, headers=[(b"content-type", media_type)])

    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["type"] == "invalid_request_error"
