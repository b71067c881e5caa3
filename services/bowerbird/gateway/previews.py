"""Previews: what a picture will be, shown while it is drawn, by the same rules as a picture.

The story opens `previewing` around a drawing and hands it every preview that text-to-image sends. Each is checked by
safety, labelled and signed by curation, and only then given to whoever listens (`Call.on_preview`). The gateway decodes
none of them: the raw frame goes from one stage to the next, and curation enlarges it to the picture's size.

A preview is not promised, the picture is. One that safety stops, that another model drew, or that a stage fails on, is
withheld and counted, and the drawing goes on: what it comes to is decided by the verdict on the picture. They are
looked at one after the other, beside the drawing; when the picture is there, nobody waits for a preview any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from bowerbird.contracts import ImageCheck, PolicyReference, PreviewFacts, PublishRequest, Unfinished, seed_of
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.call import Call
from bowerbird.gateway.plan import Plan
from bowerbird.gateway.publishing import label_of, publish, source_of
from bowerbird.gateway.upstream import Stage, Upstream, facts_as
from bowerbird.parts import Kind, Part, body_of, part

logger = logging.getLogger(__name__)

Offer = Callable[[Part], None]


@dataclass(frozen=True, slots=True)
class Preview:
    """What the picture of a plan will be, after `step`; encoded and labelled as the picture will be."""

    plan: Plan
    step: int
    content: bytes = field(repr=False)


class Outcome(StrEnum):
    """What became of a preview."""

    SHOWN = "shown"
    WITHHELD = "withheld"
    """Safety stopped it, or another model drew it than the label would name."""
    FAILED = "failed"
    """A stage did not answer, or not as its contract says."""


@dataclass(frozen=True, slots=True)
class Previewer:
    """What previews of one drawing are checked and labelled with."""

    plan: Plan
    policy: PolicyReference
    call: Call
    upstream: Upstream

    async def show(self, drawn: Part) -> Outcome:
        """Gives one preview to who listens, when it may leave."""
        facts = facts_as(PreviewFacts, drawn, Stage.TEXT_TO_IMAGE)
        if facts.digest != self.plan.model.digest or await self._stopped(drawn.body):
            return Outcome.WITHHELD
        label = label_of(self.plan, self.policy, [seed_of(self.plan.seed, facts.index)], facts.loras, self.call)
        wanted = PublishRequest(
            count=1,
            format=self.plan.output_format,
            compression=self.plan.output_compression,
            origin=label,
            preview=Unfinished(step=facts.step, steps=facts.steps, size=self.plan.size),
            source=self.plan.source,
        )
        body = body_of(wanted, *(await source_of(self.plan)), part(Kind.FRAMES, drawn.body))
        [picture] = (await publish(wanted, body, self.call, self.upstream)).pictures
        self.call.on_preview(Preview(self.plan, facts.step, picture))
        return Outcome.SHOWN

    async def _stopped(self, raw: bytes) -> bool:
        body = body_of(ImageCheck(count=1), part(Kind.FRAMES, raw))
        decided = await self.upstream.check_images(body, self.call)
        return [verdict.action.stops for verdict in decided.verdicts] != [False]


@asynccontextmanager
async def previewing(plan: Plan, policy: PolicyReference, call: Call, upstream: Upstream) -> AsyncIterator[Offer]:
    """Where a drawing's previews are put while the block runs; what is still on its way then is dropped."""
    if not plan.previews:
        yield _ignore
        return
    offered: asyncio.Queue[Part] = asyncio.Queue()
    showing = asyncio.create_task(_show_each(offered, Previewer(plan, policy, call, upstream)))
    try:
        yield offered.put_nowait
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


def _ignore(_: Part) -> None:
    pass


async def _show_each(offered: asyncio.Queue[Part], previewer: Previewer) -> None:
    call = previewer.call
    while True:
        drawn = await offered.get()
        try:
            with call.stage("preview"):
                outcome = await previewer.show(drawn)
        except BowerbirdError as error:
            outcome = Outcome.FAILED
            logger.warning("a preview failed", extra={"request_id": call.request_id, "code": error.code})
        call.metrics.previewed(outcome)
