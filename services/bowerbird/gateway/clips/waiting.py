"""How a clip waits for a slot of animation, when the rest of its chain is there too; `gateway.waiting` for clips."""

from __future__ import annotations

import time

from bowerbird.deadline import Deadline
from bowerbird.errors import QueueTimeout
from bowerbird.gateway.admission.admission import Turn
from bowerbird.gateway.admission.ticket import Ticket
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.endpoints import CHAIN
from bowerbird.gateway.clips.plan import ClipPlan, compute_units
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.stages import StageState
from bowerbird.gateway.upstream import Stage
from bowerbird.gateway.waiting import HELD_BYTES, Attempt, ticket_id
from bowerbird.settings import Settings


def ticket_of(plan: ClipPlan, call: Call, settings: Settings) -> Ticket:
    """The clip as the queue sees it."""
    return Ticket(
        id=ticket_id(call),
        tenant=call.flow,
        cost=compute_units(plan),
        wait_until=Deadline.after(call.queue_seconds or settings.queue_timeout_seconds).at,
        finish_by=call.patience.at,
        arrived=time.monotonic(),
        work_class=call.work_class,
        weight=call.weight,
        queue_part=call.queue_part,
        accepted=call.accepted,
        held_bytes=HELD_BYTES,
    )


async def admit(turn: Turn, call: Call, gateway: Gateway) -> Attempt:
    """A slot for this clip; raises QueueTimeout, or StageUnavailable for a stage that will not come, or did not."""
    seconds, stages = call.queue_seconds or gateway.settings.queue_timeout_seconds, gateway.stages
    waking = gateway.demand.waking
    began = time.perf_counter()
    if waking.asleep(CHAIN):
        await turn.unless_refused(waking.until_awake(CHAIN, call))
        turn.wait_anew()
    with call.stage("admit"):
        await turn.unless_refused(stages.until_seen(Stage.ANIMATION))
        stages.require_coming(Stage.ANIMATION, seconds)
        for stage in (Stage.SAFETY, Stage.CURATION):
            if stages.statuses[stage].state is not StageState.READY:
                await turn.unless_refused(stages.until_ready(stage, seconds))
        try:
            grant = await turn.grant()
        except QueueTimeout:
            if stages.statuses[Stage.ANIMATION].state is StageState.READY:
                raise
            raise stages.not_in_time(Stage.ANIMATION) from None
    gateway.metrics.queue_took(turn.ticket.work_class, time.perf_counter() - began)
    computing = call.computing(gateway.animators.admission.fence(grant))
    return Attempt(computing, gateway.upstream.at(grant.endpoint, Stage.ANIMATION), turn)
