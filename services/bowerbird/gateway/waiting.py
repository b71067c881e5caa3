"""How a request waits: what it is in the queue, what it waits for, and the slot that it is computed in.

Steps of the story (`story.tell`), between the one that allows the prompt and the one that draws. The queue itself, with
its order and its slots, is `admission`; here it meets plans, calls and stages.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bowerbird.deadline import Deadline
from bowerbird.errors import DeadlineExceeded, GrantStale, QueueTimeout, StageBroken, StageFull, StageUnavailable
from bowerbird.gateway.admission.admission import Turn
from bowerbird.gateway.admission.order import FULL_PAUSE_SECONDS
from bowerbird.gateway.admission.ticket import MARK, PutBack, Ticket
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import Plan, compute_units
from bowerbird.gateway.stages import StageState
from bowerbird.gateway.upstream import Stage, Upstream
from bowerbird.settings import Settings

HELD_BYTES = 64 * 1024
"""What a waiting request takes beside its text (connection, tasks, spans; measured), for the bound on memory."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at computing a request: at the endpoint where `turn` has a slot, within the call's time to compute."""

    call: Call
    upstream: Upstream
    turn: Turn


def ticket_id(call: Call) -> str:
    """Of one wait; that of accepted work says which it is, so that it is found by who does not carry it."""
    name = secrets.token_hex(8)
    return f"{call.request_id}{MARK}{name}" if call.accepted else name


def ticket_of(plan: Plan, call: Call, settings: Settings) -> Ticket:
    """The request as the queue sees it."""
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
        held_bytes=HELD_BYTES
        + 4 * (len(plan.prompt) + len(plan.negative_prompt or ""))
        + sum(map(len, plan.begins_with)),
    )


async def admit(turn: Turn, call: Call, gateway: Gateway) -> Attempt:
    """A slot for this request, when the rest of the chain is there too.

    Stages that sleep are waited for first, within bounds of their own. Raises QueueTimeout when no slot is free in
    time, StageUnavailable for a stage that will not come, or did not.
    """
    seconds, stages = call.queue_seconds or gateway.settings.queue_timeout_seconds, gateway.stages
    began = time.perf_counter()
    if gateway.demand.waking.asleep(CHAIN):
        await turn.unless_refused(gateway.demand.waking.until_awake(CHAIN, call))
        turn.wait_anew()
    with call.stage("admit"):
        stages.require_coming(Stage.TEXT_TO_IMAGE, seconds)
        for stage in (Stage.SAFETY, Stage.CURATION):  # they have no slots; a slot held meanwhile is of use to nobody
            if stages.statuses[stage].state is not StageState.READY:
                await turn.unless_refused(stages.until_ready(stage, seconds))
        try:
            grant = await turn.grant()
        except QueueTimeout:
            if stages.statuses[Stage.TEXT_TO_IMAGE].state is StageState.READY:
                raise
            raise stages.not_in_time(Stage.TEXT_TO_IMAGE) from None
    gateway.metrics.queue_took(turn.ticket.work_class, time.perf_counter() - began)
    return Attempt(call.computing(gateway.admission.fence(grant)), gateway.upstream.at(grant.endpoint), turn)


@contextmanager
def slot(attempt: Attempt) -> Iterator[None]:
    """The slot while it is drawn in: free when the drawing ends; if the endpoint fails, the request is next again."""
    turn, metrics = attempt.turn, attempt.call.metrics
    try:
        yield
    except DeadlineExceeded:
        raise  # the endpoint is well; there was too little time
    except GrantStale:
        metrics.put_back(PutBack.STALE)
        turn.put_back(PutBack.STALE)
        raise
    except StageFull as full:
        metrics.put_back(PutBack.FULL)
        turn.put_back(PutBack.FULL, full.retry_after_seconds or FULL_PAUSE_SECONDS)
        raise
    except (StageUnavailable, StageBroken):
        metrics.put_back(PutBack.LOST)
        turn.put_back(PutBack.LOST)
        raise
    turn.finished()
