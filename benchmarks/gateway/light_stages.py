"""The stages as light servers: `python -m benchmarks.gateway.light_stages PORT SPEC`.

Real HTTP, the contracts' bodies, hardly any work: answers are bytes that were made at start, a drawing is a sleep. So
the gateway's own CPU can be measured beside them, and a queue can be driven at a load that is known: `slots` drawings
at a time, each of as many steps of `step_seconds` as were asked for; one more is answered 429.

They know one request: one picture, one candidate, no LoRA; it may begin with a picture, without a mask. Spans may be
sent here too (`/v1/traces`); they are dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.gateway import light_clips
from bowerbird.contracts import (
    PROGRESS_HEADER,
    Action,
    CurationDescription,
    Decision,
    DrawDone,
    DrawProgress,
    FrameFacts,
    FrameJudgement,
    ImageDecisions,
    ImageVerdict,
    Judgement,
    LoraCatalogue,
    ModelCosts,
    ModelDescription,
    OpenDone,
    Picture,
    PolicyReference,
    ProvenanceReport,
    PublishDone,
    Ranking,
    SafetyDescription,
    Score,
    Size,
    SizeCosts,
)
from bowerbird.errors import StageFull, error_body
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, PartReader, part

DIGEST = "sha256:" + "a" * 64
POLICY = PolicyReference(id="policy", version="1", digest="sha256:" + "b" * 64)
SAFETY = SafetyDescription(version="1", policy=POLICY)
CURATION = CurationDescription(version="1", judge="judge@1", certificate="sha256:" + "f" * 64)
SIZE = Size(width=256, height=256)
STEPS = 20
ROWS = 2
"""Of a guided picture: with guidance each step is two rows."""
JSON = b"application/json"
NPY_HEADER_BYTES = 128
PROMPT_HERE = "PROMPT-HERE"

Handler = Callable[[Scope, bytes, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Spec:
    """What the stages are like."""

    slots: int = 64
    step_seconds: float = 0.0
    """0: a drawing is there at once, all steps of it in one piece."""
    frame_bytes: int = 256 * 256 * 3 + NPY_HEADER_BYTES
    picture_bytes: int = 110_000
    """Of a labelled PNG of 256 x 256 pixels."""

    @property
    def pictures_per_second(self) -> float:
        """Guided pictures of STEPS steps when every slot is taken."""
        return self.slots / (STEPS * self.step_seconds)


class LightStages:
    """The app; every stage's root is its name."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._drawing = 0
        self._picture = os.urandom(spec.picture_bytes)
        self._frame = os.urandom(spec.frame_bytes)
        self._frame_digest = hashlib.sha256(self._frame).hexdigest()
        self._decision = _decision().model_dump_json()
        self._moves = light_clips.moving(describe(spec).model_dump())
        self._routes: dict[str, Handler] = {
            "/safety/describe": _always(SAFETY.model_dump_json().encode(), JSON),
            "/safety/check_prompt": self._check_prompt,
            "/safety/check_images": _always(_verdicts().model_dump_json().encode(), JSON),
            "/safety/check_clips": _always(light_clips.checked(POLICY).model_dump_json().encode(), JSON),
            "/animation/describe": _always(self._moves.model_dump_json().encode(), JSON),
            "/animation/animate": self._animate,
            "/text-to-image/describe": _always(describe(spec).model_dump_json().encode(), JSON),
            "/text-to-image/draw": self._draw,
            "/text-to-image/loras": _always(LoraCatalogue(loras=[]).model_dump_json().encode(), JSON),
            "/curation/describe": _always(CURATION.model_dump_json().encode(), JSON),
            "/curation/open": _always(_opened(self._frame), CONTENT_TYPE.encode()),
            "/curation/judge": _always(_judgement().model_dump_json().encode(), JSON),
            "/curation/check_provenance": _always(_report().model_dump_json().encode(), JSON),
            "/curation/publish": _always(_published(self._picture), CONTENT_TYPE.encode()),
            "/curation/judge_clips": _always(light_clips.judged().model_dump_json().encode(), JSON),
            "/curation/publish_clip": _always(light_clips.published(self._picture, CURATION), CONTENT_TYPE.encode()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is no route of ours is 200 and empty: `/readyz` of every stage, `/v1/traces`."""
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await self._routes.get(scope["path"], _nothing)(scope, body, receive, send)

    async def _check_prompt(self, _: Scope, body: bytes, __: Receive, send: Send) -> None:
        prompt = json.dumps(json.loads(body)["prompt"])
        decision = self._decision.replace(f'"{PROMPT_HERE}"', prompt).encode()
        await _answer(send, 200, decision, JSON, b"safety/" + SAFETY.version.encode())

    async def _animate(self, _: Scope, body: bytes, __: Receive, send: Send) -> None:
        clip = light_clips.animated(body, self._frame, self._moves)
        await _answer(send, 200, clip, CONTENT_TYPE.encode())

    async def _draw(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        if self._drawing >= self._spec.slots:
            full = StageFull("Every slot is taken.", retry_after_seconds=1)
            await _answer(send, full.status, json.dumps(error_body(full)).encode(), JSON)
            return
        self._drawing += 1
        listening = asyncio.create_task(_until_hung_up(receive))
        try:
            tells_steps = (PROGRESS_HEADER.encode(), b"none") not in scope["headers"]
            await self._steps(_asked_in(body), listening, send, tells_steps=tells_steps)
        finally:
            self._drawing -= 1
            listening.cancel()

    async def _steps(
        self, asked: dict[str, Any], listening: asyncio.Task[None], send: Send, *, tells_steps: bool
    ) -> None:
        """Each step ends at its time however late the last one was told; told where somebody reads it, as the first."""
        await send({"type": "http.response.start", "status": 200, "headers": _headers(CONTENT_TYPE.encode())})
        begin, seconds = asyncio.get_running_loop().time(), self._spec.step_seconds
        parts = [_progress(step, asked["steps"]) for step in range(asked["steps"] + 1)]
        for step, told in enumerate(parts) if seconds else [(0, b"".join(parts))]:
            await asyncio.sleep(max(0.0, begin + step * seconds - asyncio.get_running_loop().time()))
            if listening.done():
                return
            if tells_steps or step == 0:
                await send({"type": "http.response.body", "body": told, "more_body": True})
        await send({"type": "http.response.body", "body": self._drawn(asked), "more_body": False})

    def _drawn(self, asked: dict[str, Any]) -> bytes:
        """The frame, whose digest was computed at start, and `done`."""
        facts = FrameFacts(index=0, seed=asked["seed"])
        frame = part(Kind.FRAMES, b"", facts)
        frame = frame.replace(b"Content-Length: 0", b"Content-Length: %d" % len(self._frame))
        frame = frame.replace(hashlib.sha256(b"").hexdigest().encode(), self._frame_digest.encode())
        done = DrawDone(
            model="light", digest=DIGEST, seeds=[asked["seed"]], seconds={"denoise": 0.5}, steps_computed=asked["steps"]
        )
        return frame.removesuffix(b"\r\n") + self._frame + b"\r\n" + part(Kind.DONE, done) + END_OF_STREAM


def describe(spec: Spec) -> ModelDescription:
    """A model of one size, whose costs are what `spec` does."""
    unit_seconds = spec.step_seconds / (ROWS * spec.slots) or 1e-6
    return ModelDescription(
        name="light",
        version="1",
        digest=DIGEST,
        licence="Apache-2.0",
        created=1_790_000_000,
        sizes=[SIZE],
        max_steps=50,
        default_steps=STEPS,
        default_guidance_scale=4,
        max_prompt_tokens=75,
        slots=spec.slots,
        edits=True,
        costs=ModelCosts(
            unit_seconds=unit_seconds,
            guided_rows=ROWS,
            sizes=[SizeCosts(size=SIZE, encode=0.0, step=1.0, decode=0.0)],
        ),
    )


def _decision() -> Decision:
    return Decision(
        id="dec_1",
        action=Action.ALLOW,
        reasons=[],
        flagged=False,
        categories={"violence": False, "sexual": False, "hate": False},
        category_scores={"violence": 0.01, "sexual": 0.01, "hate": 0.01},
        category_applied_input_types={"violence": ["text"], "sexual": ["text"], "hate": ["text"]},
        spans=[],
        redacted_prompt=PROMPT_HERE,
        redacted_negative_prompt=None,
        gates=[],
        normalisation=[],
        policy=POLICY,
        latency_ms=1.0,
    )


def _verdicts() -> ImageDecisions:
    verdict = ImageVerdict(index=0, action=Action.ALLOW, reasons=[], category_scores={"sexual": 0.01}, gates=[])
    return ImageDecisions(id="dec_2", verdicts=[verdict], policy=POLICY, latency_ms=1.0)


def _judgement() -> Judgement:
    names = ("prompt_match", "sharpness", "banding", "jpeg_grid", "species")
    scores = [
        Score(name=name, version="1", value=0.25, direction="higher_is_better", minimum=0, maximum=1) for name in names
    ]
    return Judgement(
        frames=[FrameJudgement(index=0, total=0.5, scores=scores)],
        rankings=[Ranking(image=0, order=[0], margin=1, tie=False)],
        tie_margin=0.1,
        judge="judge@1",
    )


def _opened(frame: bytes) -> bytes:
    done = OpenDone(media_type="image/png", masked=False)
    return part(Kind.FRAMES, frame) + part(Kind.DONE, done) + END_OF_STREAM


def _published(picture: bytes) -> bytes:
    facts = Picture(
        index=0,
        media_type="image/png",
        digest=f"sha256:{hashlib.sha256(picture).hexdigest()}",
        manifest_bytes=1,
        encode_ms=1,
        sign_ms=1,
    )
    return part(Kind.PICTURE, picture, facts) + part(Kind.DONE, PublishDone(count=1, curation=CURATION)) + END_OF_STREAM


def _report() -> ProvenanceReport:
    return ProvenanceReport(
        outcome="not_detected", validation_state="not_present", verdict="no_evidence", explanation="Nothing says so."
    )


def _asked_in(body: bytes) -> dict[str, Any]:
    """A drawing's request: JSON, or the first part where it begins with a picture."""
    raw = body if body.startswith(b"{") else next(PartReader().feed(body)).body
    asked: dict[str, Any] = json.loads(raw)
    return asked


def _progress(step: int, steps: int) -> bytes:
    return part(Kind.PROGRESS, DrawProgress(step=step, steps=steps, finished=0, count=1))


def _always(body: bytes, media_type: bytes) -> Handler:
    async def answer(_: Scope, __: bytes, ___: Receive, send: Send) -> None:
        await _answer(send, 200, body, media_type)

    return answer


async def _nothing(_: Scope, __: bytes, ___: Receive, send: Send) -> None:
    await _answer(send, 200, b"", JSON)


async def _answer(send: Send, status: int, body: bytes, media_type: bytes, name: bytes = b"light/1") -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_headers(media_type, name), length]})
    await send({"type": "http.response.body", "body": body})


def _headers(media_type: bytes, name: bytes = b"light/1") -> list[tuple[bytes, bytes]]:
    return [(b"content-type", media_type), (b"bowerbird-service", name)]


async def _until_hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def main(port: int, spec: Mapping[str, Any]) -> None:
    """Serves until the process is told to end."""
    quiet: dict[str, Any] = {"access_log": False, "log_level": "warning", "lifespan": "off", "ws": "none"}
    server: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "backlog": 4096, "timeout_graceful_shutdown": 1}
    uvicorn.run(LightStages(Spec(**spec)), host="127.0.0.1", port=port, **quiet, **server)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
