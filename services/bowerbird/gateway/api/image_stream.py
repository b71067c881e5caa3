"""`stream: true`: a picture and what it is becoming, as server-sent events in OpenAI's shapes.

    : {"phase": …}                      a comment at once, with each news of the place in the queue and its ETA, or of
                                        a stage that wakes and what keeps it (`reason`), and when nothing was said for
                                        HEARTBEAT_SECONDS: no proxy cuts what is not silent
    image_generation.partial_image      up to `partial_images` times, each checked and labelled as the picture is
    image_generation.completed          the picture (of an edit: `image_edit.…`); or
    error                               what any other answer would have said, safety's refusal of the picture included

The stream begins when there is something to wait for: what is refused before that (a field, the prompt, a full queue)
is an answer with its own status. A picture that was drawn before, or that is being drawn for somebody else, is one
event. A client that hangs up ends the work. (https://html.spec.whatwg.org/multipage/server-sent-events.html)
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pybase64
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bowerbird.contracts import OutputFormat
from bowerbird.errors import BowerbirdError, RequestInvalid, error_body
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.admission.ticket import Place
from bowerbird.gateway.api.accepting import Acceptance
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.api.image_drawing import Drawing, GenerationFacts, usage_of
from bowerbird.gateway.api.rate_limit import TOO_MANY, rate_limit
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.phase import Progress
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import ClientGone, unless_hung_up
from bowerbird.gateway.previews import Preview
from bowerbird.worker import log_unforeseen

HEARTBEAT_SECONDS = 5.0
"""Far below the 30 to 60 seconds after which proxies close what is silent: somebody watches a place in the queue."""

EVENT_STREAM = "text/event-stream"

Quality = Literal["low", "medium", "high", "xhigh", "max"]
Draw = Callable[[Call, Tell], Coroutine[Any, Any, Drawing]]


class TokenDetails(ResponseBody):
    """What was read, by kind."""

    image_tokens: int = Field(description="Positions of the latents of the picture that an edit begins with; else 0.")
    text_tokens: int = Field(description="Of prompt and negative prompt, by the model's tokenizer.")


class TokenUsage(ResponseBody):
    """What the model read and drew, as OpenAI counts it; what it costs is in /v1/usage, in compute units."""

    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int = Field(description="Positions of the picture's latents.")
    total_tokens: int


class PartialImage(ResponseBody):
    """Event `image_generation.partial_image`: what the picture will be."""

    type: Literal["image_generation.partial_image"] = "image_generation.partial_image"
    partial_image_index: int = Field(description="From 0, without gaps.")
    b64_json: str = Field(description="As large as the picture, encoded and signed as the picture will be, base64.")
    background: Literal["opaque"] = "opaque"
    created_at: int = Field(description="Unix seconds.")
    output_format: OutputFormat
    quality: Quality = Field(description="What `auto` became.")
    size: str = Field(description="WIDTHxHEIGHT in pixels.")


class CompletedImage(ResponseBody):
    """Event `image_generation.completed`: the picture."""

    type: Literal["image_generation.completed"] = "image_generation.completed"
    b64_json: str = Field(description="The encoded and signed picture, base64.")
    background: Literal["opaque"] = "opaque"
    created_at: int = Field(description="Unix seconds when the picture was drawn.")
    output_format: OutputFormat
    quality: Quality = Field(description="What `auto` became.")
    size: str = Field(description="WIDTHxHEIGHT in pixels.")
    usage: TokenUsage
    safety_identifier: str | None = Field(default=None, description="The effective one of the request.")
    revised_prompt: str | None = Field(
        default=None, description="What was drawn instead, where personal data was taken out of the prompt."
    )
    bowerbird: GenerationFacts


class PartialEdit(PartialImage):
    """Event `image_edit.partial_image`: what the picture will be."""

    type: Literal["image_edit.partial_image"] = "image_edit.partial_image"  # type: ignore[assignment]


class CompletedEdit(CompletedImage):
    """Event `image_edit.completed`: the picture."""

    type: Literal["image_edit.completed"] = "image_edit.completed"  # type: ignore[assignment]


def refuse_to_accept(acceptance: Acceptance | None) -> None:
    """Raises RequestInvalid when a stream is asked for as a job, which nobody listens to while it is drawn."""
    if acceptance is not None:
        raise RequestInvalid(
            "stream: a request with Idempotency-Key or Prefer: respond-async becomes a job, and a job has no previews; "
            "what happens to it is told at /v1/jobs/{id}/events. Accepted: stream without these headers.",
            param="stream",
        )


@dataclass(frozen=True, slots=True)
class Events:
    """The shapes of a stream's events."""

    partial: type[PartialImage]
    completed: type[CompletedImage]


GENERATION = Events(PartialImage, CompletedImage)
EDIT = Events(PartialEdit, CompletedEdit)


async def stream_images(request: Request, call: Call, draw: Draw, events: Events = GENERATION) -> Response:
    """The stream of a story that `draw` tells; raises what ends it before there is something to wait for."""
    telling = Telling(request, call, draw, events)
    try:
        await unless_hung_up(request, telling.begun())
    except BaseException:
        await telling.give_up()
        raise
    return PictureStream(telling, rate_limit(request))


class Telling:
    """A story that is told while it happens; it runs from the moment at which this is made."""

    def __init__(self, request: Request, call: Call, draw: Draw, events: Events) -> None:
        self._request, self._events = request, events
        self._gateway: Gateway = gateway_of(request)
        self._phase = "waiting"
        self._place: Place | None = None
        self._reason: str | None = None
        self._shown = self._last_step = 0
        self._waiting = asyncio.Event()
        self._heard: asyncio.Queue[Preview | Place | Progress | None] = asyncio.Queue()
        self._call = replace(call, on_stage=self._entered, on_wake=self._woken, on_preview=self._previewed)
        self._story: asyncio.Task[Drawing] = asyncio.create_task(draw(self._call, self._placed))
        self._story.add_done_callback(lambda _: self._heard.put_nowait(None))

    async def begun(self) -> None:
        """Returns when there is something to wait for, or raises what ended the story before."""
        waiting = asyncio.create_task(self._waiting.wait())
        try:
            await asyncio.wait({self._story, waiting}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._story.done():
            self._story.result()

    async def events(self) -> AsyncGenerator[str]:
        """Comments, previews, and how it ended."""
        yield self._comment()
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    heard = await self._heard.get()
            except TimeoutError:
                heard = self._place
            else:
                if heard is None:
                    break
            yield self._partial(heard) if isinstance(heard, Preview) else self._comment()
        yield self._end()

    async def give_up(self) -> None:
        """Nobody listens any more; harmless when the story has ended."""
        if not self._story.done():
            self._request.state.ended_with, self._request.state.error_code = ClientGone.status, "client_gone"
        self._story.cancel()
        await asyncio.gather(self._story, return_exceptions=True)

    def _entered(self, stage: str) -> None:
        self._phase, self._reason = stage, None
        if stage == "admit":
            self._waiting.set()
        else:
            self._place = None

    def _woken(self, progress: Progress) -> None:
        self._phase, self._reason = f"wake.{progress.phase}", progress.reason
        self._waiting.set()
        self._heard.put_nowait(progress)

    def _placed(self, place: Place) -> None:
        self._place = place
        self._heard.put_nowait(place)

    def _previewed(self, preview: Preview) -> None:
        """An endpoint that took over from a lost one shows the same again, which is no news."""
        if preview.step > self._last_step and not self._story.done():
            self._last_step = preview.step
            self._heard.put_nowait(preview)

    def _comment(self) -> str:
        facts: dict[str, Any] = {"phase": self._phase}
        if self._reason is not None:
            facts["reason"] = self._reason
        if self._place is not None:
            facts |= {"position": self._place.position, "eta_seconds": self._place.eta_seconds}
        return f": {json.dumps(facts)}\n\n"

    def _partial(self, preview: Preview) -> str:
        body = partial_image(preview, self._shown, self._events.partial)
        self._shown += 1
        return _event(body.type, body)

    def _end(self) -> str:
        try:
            drawing = self._story.result()
        except BowerbirdError as error:
            return self._error(error)
        except Exception as error:  # the status was sent: all that is left is to say so
            log_unforeseen(error)
            return self._error(BowerbirdError("The service failed; the log has the cause."))
        entry = usage_of(drawing, self._call.request_id, self._request.state.tenant)
        self._gateway.records.usage.record_soon(entry)
        body = completed_image(drawing, self._events.completed)
        return _event(body.type, body)

    def _error(self, error: BowerbirdError) -> str:
        self._request.state.ended_with, self._request.state.error_code = error.status, error.code
        if error.status == TOO_MANY:
            self._gateway.metrics.refused(error.code)
        body = error_body(error)
        if error.retry_after_seconds is not None:
            body["error"]["retry_after_seconds"] = error.retry_after_seconds
        return f"event: error\ndata: {json.dumps({'type': 'error', **body})}\n\n"


class PictureStream(StreamingResponse):
    """The events; however that ends, also before the first byte, nothing is drawn any more afterwards."""

    def __init__(self, telling: Telling, headers: Mapping[str, str]) -> None:
        silent = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(telling.events(), 200, {**silent, **headers}, EVENT_STREAM)
        self._telling = telling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the story or the connection ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._telling.give_up()


def partial_image(preview: Preview, index: int, shape: type[PartialImage]) -> PartialImage:
    """The event of a preview, the `index`th that is shown."""
    return shape(
        partial_image_index=index,
        b64_json=pybase64.b64encode_as_string(preview.content),
        created_at=int(time.time()),
        output_format=preview.plan.output_format,
        quality=preview.plan.quality.value,
        size=str(preview.plan.size),
    )


def completed_image(drawing: Drawing, shape: type[CompletedImage]) -> CompletedImage:
    """The event of a finished story."""
    answer, facts = drawing.body, drawing.told.result.facts
    read = 0 if drawing.plan.original is None else facts.image_tokens
    return shape(
        b64_json=answer.data[0].b64_json,
        created_at=answer.created,
        output_format=OutputFormat(answer.output_format),
        quality=answer.quality,
        size=answer.size,
        usage=TokenUsage(
            input_tokens=facts.text_tokens + read,
            input_tokens_details=TokenDetails(image_tokens=read, text_tokens=facts.text_tokens),
            output_tokens=facts.image_tokens,
            total_tokens=facts.text_tokens + read + facts.image_tokens,
        ),
        safety_identifier=answer.safety_identifier,
        revised_prompt=answer.data[0].revised_prompt,
        bowerbird=answer.bowerbird,
    )


def _event(name: str, body: ResponseBody) -> str:
    return f"event: {name}\ndata: {body.model_dump_json()}\n\n"
