"""The stages as the gateway calls them: one method for each route of `contracts`, over kept connections.

The story calls these. What comes back is either what the contract promises or a fact of `errors`: an error that a stage
stated arrives as the same class; a stage that cannot be reached is `StageUnavailable` with its name; one that answers
otherwise than its contract says is `StageBroken`. Nothing is retried here (`asking_again` does). Which of several
endpoints draws is admission's to say: `at` gives an upstream that draws there. Of several endpoints of another stage
the one that has the least of this process is asked, and one that died a moment ago only where there is no other.

The deadline is the story's (`asyncio.timeout` around all of it); only connecting is bounded here.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from enum import StrEnum
from types import TracebackType
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from bowerbird.contracts import (
    PROGRESS_HEADER,
    SERVICE_HEADER,
    AnimateRequest,
    ClipDecisions,
    ClipJudgement,
    Decision,
    DrawProgress,
    DrawRequest,
    ImageDecisions,
    Judgement,
    LoraCatalogue,
    PromptCheck,
    PromptReading,
    ProvenanceReport,
)
from bowerbird.errors import (
    BodyTooLarge,
    BowerbirdError,
    KeyInvalid,
    MethodUnsupported,
    RouteUnknown,
    StageBroken,
    StageUnavailable,
    error_from_body,
)
from bowerbird.gateway.call import Call
from bowerbird.gateway.connections import (
    CONNECT_SECONDS,
    KEEP_ALIVE_SECONDS,
    Answer,
    BrokenOff,
    Connections,
    Unreachable,
)
from bowerbird.gateway.in_flight import InFlight
from bowerbird.parts import CONTENT_TYPE, Kind, Part, PartReader, body_of
from bowerbird.settings import Settings
from bowerbird.telemetry import Hop, traced_headers

RETRY_AFTER_SECONDS = 2

# What a stage may say of its own route table or body limit is a fault between us, not the caller's.
_OURS = (RouteUnknown, MethodUnsupported, BodyTooLarge, KeyInvalid)

Contracted = TypeVar("Contracted", bound=BaseModel)
Payload = bytes | list[bytes] | AsyncIterable[bytes]
"""JSON, a stream of parts that are all there, or one whose parts are still to come."""


class Stage(StrEnum):
    """The services behind the gateway."""

    SAFETY = "safety"
    TEXT_TO_IMAGE = "text-to-image"
    ANIMATION = "animation"
    CURATION = "curation"


STEPPING = (Stage.TEXT_TO_IMAGE, Stage.ANIMATION)
"""What they are for is a stream of steps; what else they answer is no sign that they compute."""


def stage_urls(settings: Settings) -> dict[Stage, tuple[str, ...]]:
    """Where each stage is, without a trailing slash; one endpoint or several."""
    urls = {
        Stage.SAFETY: settings.safety_url,
        Stage.TEXT_TO_IMAGE: settings.text_to_image_url,
        Stage.ANIMATION: settings.animation_url,
        Stage.CURATION: settings.curation_url,
    }
    return {stage: tuple(url.strip().rstrip("/") for url in each.split(",")) for stage, each in urls.items()}


def open_session(tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """For what is asked seldom: probes, other replicas. Needs a running event loop; closed by who opened it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=tls or True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
    )


async def _nobody_sleeps(_: Stage, __: Call) -> None:
    pass


Wake = Callable[[Stage, Call], Awaitable[None]]
"""Returns when a stage that sleeps has an endpoint, or at once for one that nobody wakes; raises StageUnavailable."""


class Upstream:
    """Asks the stages on behalf of one request at a time, many at once."""

    def __init__(
        self,
        connections: Connections,
        urls: Mapping[Stage, Sequence[str]],
        wake: Wake = _nobody_sleeps,
        in_flight: InFlight | None = None,
    ) -> None:
        self._connections = connections
        self._urls = urls
        self._wake = wake
        self._in_flight = in_flight or InFlight()

    def at(self, endpoint: str, stage: Stage = Stage.TEXT_TO_IMAGE) -> Upstream:
        """The same stages, with this one at this endpoint."""
        urls = {**self._urls, stage: (endpoint,)}
        return Upstream(self._connections, urls, self._wake, self._in_flight)

    async def check_prompt(self, check: PromptCheck, call: Call) -> Decision:
        """Safety's decision about a prompt."""
        return await self._ask(Stage.SAFETY, "/check_prompt", check, call, Decision)

    async def check_images(self, parts: Payload, call: Call) -> ImageDecisions:
        """Safety's verdicts about frames that are still arriving."""
        return await self._ask(Stage.SAFETY, "/check_images", parts, call, ImageDecisions)

    async def check_clips(self, parts: AsyncIterable[bytes], call: Call) -> ClipDecisions:
        """Safety's verdicts about clips whose frames are still arriving."""
        return await self._ask(Stage.SAFETY, "/check_clips", parts, call, ClipDecisions)

    async def judge_clips(self, parts: AsyncIterable[bytes], call: Call) -> ClipJudgement:
        """Curation's scores and ranking of clips whose frames are still arriving."""
        return await self._ask(Stage.CURATION, "/judge_clips", parts, call, ClipJudgement)

    async def judge(self, parts: Payload, call: Call) -> Judgement:
        """Curation's scores and rankings of frames that are still arriving."""
        return await self._ask(Stage.CURATION, "/judge", parts, call, Judgement)

    async def check_provenance(self, file: AsyncIterable[bytes], call: Call) -> ProvenanceReport:
        """What curation reads in a file that was uploaded."""
        return await self._ask(Stage.CURATION, "/check_provenance", file, call, ProvenanceReport)

    async def loras(self, call: Call) -> LoraCatalogue:
        """The LoRAs that text-to-image could draw with now, by the first endpoint that answers."""
        await self._endpoint(Stage.TEXT_TO_IMAGE, call)
        *others, last = self._urls[Stage.TEXT_TO_IMAGE]
        for endpoint in others:
            with suppress(StageUnavailable):
                return await self.at(endpoint)._ask(Stage.TEXT_TO_IMAGE, "/loras", None, call, LoraCatalogue)
        return await self.at(last)._ask(Stage.TEXT_TO_IMAGE, "/loras", None, call, LoraCatalogue)

    async def read_prompt(self, stage: Stage, reading: PromptReading, call: Call) -> None:
        """Returns where the stage's model reads the prompts whole; raises PromptTooLong."""
        async with self._send(stage, "/read_prompt", reading.model_dump_json().encode(), call) as answer:
            await answer.read()

    def draw(self, request: DrawRequest, call: Call, begins_with: Sequence[bytes] = ()) -> AsyncGenerator[Part]:
        """The parts of a drawing as they arrive; the last one is `done`, or an error was raised.

        `begins_with` are frames parts (`contracts.Beginning`).
        """
        body: Payload = body_of(request, *begins_with) if begins_with else request.model_dump_json().encode()
        return self._stream(Stage.TEXT_TO_IMAGE, "/draw", body, call)

    def animate(self, request: AnimateRequest, call: Call, begins_with: Sequence[bytes] = ()) -> AsyncGenerator[Part]:
        """The parts of clips as they arrive, as those of a drawing."""
        body: Payload = body_of(request, *begins_with) if begins_with else request.model_dump_json().encode()
        return self._stream(Stage.ANIMATION, "/animate", body, call)

    def publish_clip(self, parts: AsyncIterable[bytes], call: Call) -> AsyncGenerator[Part]:
        """The encoded and labelled clip; the last part is `done`, or an error was raised."""
        return self._stream(Stage.CURATION, "/publish_clip", parts, call)

    def open(self, parts: AsyncIterable[bytes], call: Call) -> AsyncGenerator[Part]:
        """A picture file as frames; the last part is `done`, or an error was raised."""
        return self._stream(Stage.CURATION, "/open", parts, call)

    def publish(self, parts: Payload, call: Call) -> AsyncGenerator[Part]:
        """The encoded and labelled pictures; the last part is `done`, or an error was raised."""
        return self._stream(Stage.CURATION, "/publish", parts, call)

    async def _ask(
        self,
        stage: Stage,
        path: str,
        body: BaseModel | Payload | None,
        call: Call,
        contract: type[Contracted],
    ) -> Contracted:
        payload = body.model_dump_json().encode() if isinstance(body, BaseModel) else body
        async with self._send(stage, path, payload, call) as answer:
            read = as_contract(contract, await answer.read(), stage)
        if stage not in STEPPING:
            call.stepped(stage)
        return read

    async def _stream(self, stage: Stage, path: str, body: Payload, call: Call) -> AsyncGenerator[Part]:
        done, reader = False, PartReader()
        async with self._send(stage, path, body, call) as answer:
            while (piece := await answer.piece()) is not None:
                for part in reader.feed(piece):
                    if part.kind is Kind.ERROR:
                        raise _stated_error(stage, None, part.body, None)
                    if stage in call.first_steps and _follows_a_step(part, stage):
                        call.stepped(stage)
                    done = done or part.kind is Kind.DONE
                    yield part
            reader.end()
        if not done:
            raise StageBroken(f"The stage {stage} ended its answer without 'done'.", details={"stage": stage})

    def _send(self, stage: Stage, path: str, body: Payload | None, call: Call) -> _Exchange:
        """The answer to a POST of `body`, or to a GET where there is none."""
        return _Exchange(self, stage, path, body, call)

    async def _endpoint(self, stage: Stage, call: Call) -> str:
        """Where to ask; raises StageUnavailable where nobody is, and nobody comes."""
        urls = self._urls[stage]
        if not urls:
            await self._wake(stage, call)
        if not urls:
            raise unavailable(stage, "has no endpoint")
        return self._in_flight.least_busy(urls)


class _Exchange(AbstractAsyncContextManager[Answer]):
    """One request to a stage, and its answer for as long as the block runs; what goes wrong in it becomes a fact."""

    __slots__ = ("_answer", "_body", "_call", "_endpoint", "_path", "_stage", "_upstream")

    def __init__(self, upstream: Upstream, stage: Stage, path: str, body: Payload | None, call: Call) -> None:
        self._upstream = upstream
        self._stage = stage
        self._path = path
        self._body = body
        self._call = call
        self._answer: Answer | None = None

    async def __aenter__(self) -> Answer:
        upstream, stage = self._upstream, self._stage
        endpoint = self._endpoint = await upstream._endpoint(stage, self._call)
        headers = self._call.headers() | (
            {} if self._body is None else _headers_for(self._path, self._body, self._call)
        )
        upstream._in_flight.begin(stage, endpoint)
        try:
            answer = self._answer = await self._asked(endpoint + self._path, headers)
            name, _, version = answer.headers.get(SERVICE_HEADER, "").partition("/")
            if version:
                self._call.versions[name] = version
            if answer.status != 200:
                raise _stated_error(stage, answer.status, await answer.read(), answer.headers.get("retry-after"))
        except BaseException as error:
            self._over()
            self._state(error)
            raise
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over()
        if error is not None:
            self._state(error)

    async def _asked(self, url: str, headers: dict[str, str]) -> Answer:
        """The answer's head, within a span of its own where the request is recorded."""
        call, send = self._call, self._upstream._connections.send
        method = "GET" if self._body is None else "POST"
        if call.unrecorded is not None:
            return await send(method, url, {**headers, **call.unrecorded}, self._body)
        with Hop(method, url) as hop:  # until the answer begins: what follows is its reader's time
            answer = await send(method, url, headers | traced_headers(), self._body)
            hop.answered(answer.status)
            return answer

    def _over(self) -> None:
        self._upstream._in_flight.end(self._stage, self._endpoint)
        if self._answer is not None:
            self._answer.leave()

    def _state(self, error: BaseException) -> None:
        """Raises what an exception means, if that is more than it says."""
        stage = self._stage
        if isinstance(error, StageBroken):
            error.details.setdefault("stage", str(stage))  # a broken stream does not know whose it was
        elif isinstance(error, Unreachable | BrokenOff):
            self._upstream._in_flight.avoid(self._endpoint)
            if self._answer is not None:
                raise StageBroken(f"The stage {stage} broke off its answer.", details={"stage": stage}) from error
            raise unavailable(stage, "cannot be reached") from error


def unavailable(stage: Stage, fact: str) -> StageUnavailable:
    """The fact that a stage cannot be asked now, with its name and when to try again."""
    return StageUnavailable(
        f"The stage {stage} {fact}; try again in {RETRY_AFTER_SECONDS} s.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        details={"stage": stage},
    )


def broken(stage: Stage, fact: str) -> StageBroken:
    """The fact that a stage answered otherwise than its contract says."""
    return StageBroken(f"The stage {stage} {fact}.", details={"stage": stage})


def facts_as(contract: type[Contracted], of: Part, stage: Stage) -> Contracted:
    """The facts of a stage's part as their contract; raises StageBroken when they are something else."""
    return as_contract(contract, json.dumps(of.facts).encode(), stage)


def as_contract(contract: type[Contracted], raw: bytes, stage: Stage) -> Contracted:
    """A stage's JSON as its contract; raises StageBroken when it is something else."""
    try:
        return contract.model_validate_json(raw)
    except ValidationError as error:
        raise StageBroken(
            f"The stage {stage} answered with what is not a {contract.__name__}.", details={"stage": stage}
        ) from error


def _follows_a_step(of: Part, stage: Stage) -> bool:
    """Whether a stage says with this part that it has computed something: it says of a drawing that it begins, too."""
    return of.kind is not Kind.PROGRESS or as_contract(DrawProgress, of.body, stage).step > 0


def _headers_for(path: str, body: Payload, call: Call) -> dict[str, str]:
    # The gateway reads nothing of a drawing's steps but the first where it has just woken, and to be told of each would
    # cost it a millisecond.
    if path == "/draw" and Stage.TEXT_TO_IMAGE not in call.first_steps:
        return {"Content-Type": _media_type(path, body), PROGRESS_HEADER: "none"}
    return {"Content-Type": _media_type(path, body)}


def _media_type(path: str, body: Payload) -> str:
    if isinstance(body, bytes):
        return "application/json"
    return "application/octet-stream" if path == "/check_provenance" else CONTENT_TYPE


def _stated_error(stage: Stage, status: int | None, raw: bytes, retry_after: str | None) -> BowerbirdError:
    retry_after_seconds = int(retry_after) if retry_after and retry_after.isdigit() else None
    error = _error_in(raw, status, retry_after_seconds)
    if error is None and status == 503:
        return unavailable(stage, "is not ready")
    if error is None or isinstance(error, _OURS):
        how = "in its stream" if status is None else f"with status {status}"
        fact = f"The stage {stage} failed {how} and stated no error that is known."
        return StageBroken(fact, details={"stage": stage})
    if isinstance(error, StageUnavailable | StageBroken):
        error.details.setdefault("stage", str(stage))
    return error


def _error_in(raw: bytes, status: int | None, retry_after_seconds: int | None) -> BowerbirdError | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return error_from_body(status, body, retry_after_seconds)
