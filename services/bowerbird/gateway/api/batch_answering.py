"""How a line of a batch is answered: by the same story as a plain request, as often as it takes.

A line that its endpoint refuses (4xx) has its answer. A stage that is away, full or broken, a queue or a limit that is
full, and a tenant that is switched off are not the line's fault: it rests in its hand and is tried again until the
batch expires. What a healthy stage says of this very picture, and what nobody foresaw, is the line's own failure, and
the fifth of those is its last; they are counted with the batch, so that a line that breaks what it meets does not begin
anew in the next process.

Safety is asked first, as ever, and nothing of a line is kept before or beside the input file itself. A line whose text
may be kept nowhere (crisis) is erased from that too, in the transaction that writes down how it ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bowerbird.contracts import WorkClass
from bowerbird.deadline import Deadline
from bowerbird.errors import BowerbirdError, CrisisSupport, LimitReached, RecordsUnavailable
from bowerbird.gateway.api.batch_bodies import MODERATIONS
from bowerbird.gateway.api.batch_edit import EditPictures, upload_of
from bowerbird.gateway.api.batch_line import ReadLine, answered, max_line_bytes, read_line, refused, request_id_of
from bowerbird.gateway.api.edit_drawing import draw_edit
from bowerbird.gateway.api.image_drawing import Drawing, draw_images, usage_of
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.moderations import MODEL, CreateModeration, moderate
from bowerbird.gateway.batches.batch import BatchClaim, Outcome
from bowerbird.gateway.batches.metrics import BatchMetrics
from bowerbird.gateway.batches.running import Failed, Line, Trade
from bowerbird.gateway.call import Call, flow_of, tracer
from bowerbird.gateway.files.parts import Erasure
from bowerbird.gateway.files.persons import erased
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.outcome import LONGEST_REST_SECONDS, ending_of
from bowerbird.gateway.records.job import MAX_OWN_FAILURES, PutBack
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.lookup import Cache

COMPUTING_SECONDS = 3_600.0
"""While somebody else waits, a line's picture makes no step, however long that lasts."""
LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an endpoint said."""

    body: bytes
    usage: UsageEntry | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    keep_nothing: bool = False
    """The text that it is about may be kept nowhere."""


class LineAnswerer:
    """Answers lines with the parts of this process; `gateway` is asked when one is there to be answered."""

    def __init__(self, gateway: Callable[[], Gateway], metrics: BatchMetrics) -> None:
        self._gateway = gateway
        self._metrics = metrics

    @property
    def trade(self) -> Trade:
        """All that batches need to know of lines."""
        return Trade(max_line_bytes, read_line, self.answer, self.refuse, self._model)

    async def answer(self, claim: BatchClaim, line: Line, failed: Failed) -> Outcome:
        """The line's outcome, when there is one."""
        assert isinstance(line, ReadLine)  # noqa: S101 - `read_line` made it; for the type checker
        if isinstance(line.asked, BowerbirdError):
            return self.refuse(claim, line, line.asked)
        attempts = own_failures = 0
        while True:
            attempts += 1
            try:
                return self._written(claim, line, await self._try(claim, line, line.asked))
            except Exception as error:  # whatever it is, a line must not hang on it
                rest = _rest(error, attempts)
                if rest is not None and rest.own_failure:
                    own_failures = max(own_failures + 1, await _counted(failed))
                if rest is None or own_failures >= MAX_OWN_FAILURES:
                    return self.refuse(claim, line, _as_fact(error))
                facts = {"batch": claim.batch_id, "line": line.raw.number, "error": type(error).__name__}
                logger.info("a line of a batch will be tried again", extra=facts)
                self._metrics.tried("again")
                await asyncio.sleep(rest.rest_seconds)

    def refuse(self, claim: BatchClaim, line: Line, error: BowerbirdError) -> Outcome:
        """The outcome of a line that has no answer."""
        assert isinstance(line, ReadLine)  # noqa: S101 - as above
        self._metrics.tried("failed")
        outcome = refused(claim, line, error)
        return _erasing(outcome, line) if isinstance(error, CrisisSupport) else outcome

    async def _try(self, claim: BatchClaim, line: ReadLine, asked: object) -> Answered:
        gateway = self._gateway()
        while claim.endpoint != MODERATIONS and not gateway.stages.chain_may_come:  # noqa: ASYNC110 - polled by all
            await asyncio.sleep(LOOK_SECONDS)
        call = await _call(claim, line, gateway)
        with tracer.start_as_current_span("batch line") as span:
            span.set_attributes({"bowerbird.batch": claim.batch_id, "bowerbird.line": line.raw.number})
            if isinstance(asked, CreateModeration):
                moderated = await moderate(asked, call, gateway)
                return Answered(moderated.body.model_dump_json().encode(), keep_nothing=moderated.keep_nothing)
            if isinstance(asked, EditPictures):
                return _drawn(await draw_edit(asked, await upload_of(asked), call, gateway), claim, call)
            assert isinstance(asked, GenerateImages)  # noqa: S101 - the last of what `read_line` gives
            return _drawn(await draw_images(asked, call, gateway), claim, call)

    def _written(self, claim: BatchClaim, line: ReadLine, said: Answered) -> Outcome:
        self._metrics.tried("succeeded")
        outcome = Outcome(
            line=line.raw.number,
            succeeded=True,
            text=answered(claim, line, said.body),
            usage=said.usage,
            input_tokens=said.input_tokens,
            output_tokens=said.output_tokens,
        )
        return _erasing(outcome, line) if said.keep_nothing else outcome

    def _model(self, endpoint: str) -> str | None:
        if endpoint == MODERATIONS:
            return MODEL
        stages = self._gateway().stages
        return stages.model().name if stages.chain_is_ready else None


async def _call(claim: BatchClaim, line: ReadLine, gateway: Gateway) -> Call:
    """The request that a line becomes: its tenant's, in class batch, patient until the batch expires."""
    principal = await gateway.identity.of_tenant(claim.tenant)
    patience = Deadline(claim.expires_at)
    settings = gateway.settings
    return Call(
        request_id=request_id_of(claim, line.raw.number),
        deadline=Deadline(min(patience.at, Deadline.after(settings.request_timeout_seconds).at)),
        metrics=gateway.metrics,
        locale=claim.locale,
        flow=flow_of(claim.tenant),
        work_class=WorkClass.BATCH,
        weight=principal.weight,
        queue_part=principal.tier.queue_part,
        accepted=True,
        picture_pixels=principal.tier.picture_pixels,
        charge=partial(gateway.limits.charge, principal),
        any_by_default=settings.tenant_caches.get(claim.tenant, principal.cache) == Cache.ANY,
        patience=patience,
        queue_seconds=max(1.0, patience.remaining_seconds),
        computing_seconds=COMPUTING_SECONDS,
    )


def _drawn(drawing: Drawing, claim: BatchClaim, call: Call) -> Answered:
    facts = drawing.told.result.facts
    usage = usage_of(drawing, call.request_id, claim.tenant)
    return Answered(drawing.body.to_json(), usage, facts.text_tokens, facts.image_tokens)


def _rest(error: Exception, attempts: int) -> PutBack | None:
    """How the line rests before it is tried again; None when this is its answer."""
    if isinstance(error, LimitReached):
        seconds = error.retry_after_seconds or LONGEST_REST_SECONDS
        return PutBack(error.code, min(LONGEST_REST_SECONDS, float(seconds)))
    ending = ending_of(error, attempts)
    return ending if isinstance(ending, PutBack) else None


async def _counted(failed: Failed) -> int:
    """How often the line has failed, as far as that is known; raises ClaimVoid."""
    try:
        return await failed()
    except RecordsUnavailable:  # then it is counted here alone
        return 0


def _as_fact(error: Exception) -> BowerbirdError:
    if isinstance(error, BowerbirdError):
        return error
    logger.error("a line of a batch met what nobody foresaw", exc_info=error)
    return BowerbirdError("Something went wrong here that nobody foresaw; the log has the cause.")


def _erasing(outcome: Outcome, line: ReadLine) -> Outcome:
    replacement = erased(line.raw.length, CrisisSupport.code, line.custom_id)
    return replace(outcome, erasure=Erasure(line.raw.start, replacement))
