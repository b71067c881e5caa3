"""The story of a request: `tell` reads top to bottom; everything else in this file is one of its steps.

    identify, price   the handler, before: whose key, which plan (`identity`, `plan`)
    wake              a chain that sleeps: all of it at once; safety has to be there to decide
    check_prompt      safety decides before anything is computed or kept; no answer means no
    recall            a picture that was drawn before may answer, or one that is being drawn for somebody else
    admit             a place in the queue, until a slot is granted: from here on somebody else waits
    draw              candidates arrive one by one, and go on to curation (judge) and safety (check_images) at once
    choose            of each picture the best candidate that safety lets leave
    publish           encoded, labelled and signed; what is not labelled does not leave

Whatever ends it early (an error, the deadline, a client that hung up) cancels what is still open upstream: closing a
stage's connection is how it learns that nobody waits any more. The first fact wins; the others follow from it.

An endpoint that is full after all, or that dies while it draws, is not the end of it: the request is next in the queue
again and drawn elsewhere, from the same seeds to the same picture. A death is forgiven once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from opentelemetry import trace
from pydantic import BaseModel

from bowerbird.contracts import (
    Action,
    CurationDescription,
    Decision,
    DrawDone,
    FrameFacts,
    ImageCheck,
    ImageDecisions,
    Judgement,
    JudgeRequest,
    PromptCheck,
    PublishRequest,
    seed_of,
)
from bowerbird.errors import CrisisSupport, ImageRefused, PromptRefused, StageBroken, StageUnavailable
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.asking_again import again
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import Plan, compute_units
from bowerbird.gateway.previews import Offer, previewing
from bowerbird.gateway.publishing import Published, label_of, publish, source_of
from bowerbird.gateway.recall import recall_or_draw
from bowerbird.gateway.results.key import Subject
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.results.result import Chosen, Facts, Result
from bowerbird.gateway.spool import FrameSpool, frame_spool
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Payload, Stage, Upstream, as_contract, broken, facts_as
from bowerbird.gateway.waiting import Attempt, admit, slot, ticket_of
from bowerbird.parts import END_OF_STREAM, Kind, part

FORGIVEN_LOSSES = 1
"""Endpoints that may die under a request before it fails: a second death may well be its own doing."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A prompt that safety lets through, as it may be drawn and kept."""

    decision: Decision
    prompt: str
    negative_prompt: str | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What three stages say about the frames of one request."""

    done: DrawDone
    judgement: Judgement
    verdicts: ImageDecisions


async def never_stored() -> bool:
    """Of what is not looked for either."""
    return False


@dataclass(frozen=True, slots=True)
class Told:
    """How a story ends when it ends well: one picture for each that was asked for, and what the answer says of them."""

    allowed: Allowed
    result: Result
    source: Source
    is_stored: Callable[[], Awaitable[bool]] = never_stored
    """Whether others will find it; waits until that is known."""
    name: str = ""
    """By which it was found among the results."""


async def tell(plan: Plan, call: Call, gateway: Gateway, place: Tell | None = None) -> Told:
    """Gives what was planned; raises the first fact that speaks against it. While it waits, `place` hears its place."""
    annotate(plan, call)
    async with call.within_patience():
        await gateway.demand.waking.until_awake([Stage.SAFETY], call, CHAIN)
        async with call.within_deadline():
            allowed = await check_prompt(plan, call, gateway.upstream)
        subject = Subject(call.flow, allowed.prompt, allowed.negative_prompt, allowed.decision.policy.digest)
        draw = partial(wait_and_compute, plan, allowed, call, gateway, place)
        given = await recall_or_draw(plan, subject, call, gateway, draw)
    trace.get_current_span().set_attribute("bowerbird.source", given.source.value)
    return Told(allowed, given.result, given.source, given.is_stored, given.name)


async def wait_and_compute(plan: Plan, allowed: Allowed, call: Call, gateway: Gateway, place: Tell | None) -> Result:
    """Draws, at an endpoint whose turn it is."""
    async with gateway.admission.place(ticket_of(plan, call, gateway.settings), place) as turn:
        gateway.demand.demand.look(Stage.TEXT_TO_IMAGE)
        await call.charge(compute_units(plan))
        while True:
            attempt = await admit(turn, call, gateway)
            try:
                return await compute(plan, allowed, attempt, gateway)
            except (StageUnavailable, StageBroken):
                if not turn.waits_again or turn.losses > FORGIVEN_LOSSES:
                    raise


async def compute(plan: Plan, allowed: Allowed, attempt: Attempt, gateway: Gateway) -> Result:
    """Everything after the queue, within the time that computing may take."""
    call, upstream = attempt.call, attempt.upstream
    async with call.within_deadline(), frame_spool(gateway.settings.spool_bytes) as frames:
        async with previewing(plan, allowed.decision.policy, call, upstream) as preview:
            drawn = await draw_judge_and_check(plan, allowed, frames, attempt, preview)
        check_model(plan, drawn, gateway.stages)
        chosen = choose(plan, drawn)
        frames.keep_only([each.frame for each in chosen])
        wanted = order(drawn.done, plan, allowed, chosen, call)
        with call.stage("publish"):
            source = await source_of(plan)
            indices = [each.frame for each in chosen]

            async def ask() -> Published:
                return await publish(wanted, await whole(wanted, frames, indices, source), call, upstream)

            published = await again(ask)
    call.seconds.update({f"draw.{phase}": seconds for phase, seconds in drawn.done.seconds.items()})
    return Result(facts_of(drawn, chosen, published.curation, call), published.pictures, published.digests)


def facts_of(drawn: Drawn, chosen: list[Chosen], curation: CurationDescription, call: Call) -> Facts:
    """What the answer says of the pictures, now and whenever they answer again."""
    return Facts(
        request_id=call.request_id,
        created=int(time.time()),
        model=drawn.done.model,
        model_digest=drawn.done.digest,
        policy=drawn.verdicts.policy.digest,
        curation=curation.model_copy(update={"judge": drawn.judgement.judge}),  # who judged may not be who signed
        loras=drawn.done.loras,
        chosen=chosen,
        text_tokens=drawn.done.text_tokens,
        image_tokens=drawn.done.image_tokens * len(chosen),
    )


async def check_prompt(plan: Plan | ClipPlan, call: Call, upstream: Upstream) -> Allowed:
    """The prompt when safety lets it through; raises PromptRefused or CrisisSupport when it does not."""
    with call.stage("check_prompt"):
        asked = PromptCheck(prompt=plan.prompt, negative_prompt=plan.negative_prompt, locale=call.locale)
        decision = await again(lambda: upstream.check_prompt(asked, call))
    if decision.action.stops:
        raise refusal_of(decision)
    if decision.redacted_prompt is None or (plan.negative_prompt and decision.redacted_negative_prompt is None):
        raise broken(Stage.SAFETY, "allowed a prompt without saying which text may be drawn")
    return Allowed(decision, decision.redacted_prompt, decision.redacted_negative_prompt)


def refusal_of(decision: Decision) -> PromptRefused:
    """A stopping decision as the caller's error: categories and reasons, never the text."""
    categories = sorted(name for name, hit in decision.categories.items() if hit)
    facts = {
        "action": decision.action,
        "categories": categories,
        "reasons": decision.reasons,
        "decision": decision.id,
        "policy": decision.policy.model_dump(),
    }
    if decision.action is Action.CRISIS:
        help_text = decision.help_text or "If you are in danger, please call your local emergency number now."
        resources = [resource.model_dump() for resource in decision.resources]
        return CrisisSupport(
            help_text, param="prompt", details={**facts, "help_text": help_text, "resources": resources}
        )
    named = f": {', '.join(categories)}" if categories else ""
    return PromptRefused(f"The safety policy refuses this prompt{named}.", param="prompt", details=facts)


async def draw_judge_and_check(
    plan: Plan, allowed: Allowed, frames: FrameSpool, attempt: Attempt, preview: Offer
) -> Drawn:
    """Three stages at once over the same frames; the first that fails ends the others."""
    call, upstream = attempt.call, attempt.upstream
    species = None if plan.species is None else plan.species.scientific_name
    to_judge = JudgeRequest(prompt=allowed.prompt, images=plan.images, candidates=plan.candidates, species=species)
    to_check = ImageCheck(count=plan.frames)
    everything = range(plan.frames)

    async def judge() -> Judgement:
        with call.stage("judge"):
            return await again(lambda: upstream.judge(upload(to_judge, frames, everything), call))

    async def check() -> ImageDecisions:
        with call.stage("check_images"):
            return await again(lambda: upstream.check_images(upload(to_check, frames, everything), call))

    try:
        async with asyncio.TaskGroup() as stages:
            drawing = stages.create_task(draw(plan, allowed, frames, attempt, preview))
            judging, checking = stages.create_task(judge()), stages.create_task(check())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
    return Drawn(drawing.result(), judging.result(), checking.result())


async def draw(plan: Plan, allowed: Allowed, frames: FrameSpool, attempt: Attempt, preview: Offer) -> DrawDone:
    """Keeps each frame as it arrives; raises StageBroken when fewer or more come than were asked for."""
    request = plan.draw_request(allowed.prompt, allowed.negative_prompt)
    done: DrawDone | None = None
    with attempt.call.stage("draw"), slot(attempt):
        async with aclosing(attempt.upstream.draw(request, attempt.call, plan.begins_with)) as parts:
            async for each in parts:
                if each.kind is Kind.FRAMES:
                    facts = facts_as(FrameFacts, each, Stage.TEXT_TO_IMAGE)
                    if facts.index in frames or facts.index >= plan.frames:
                        raise broken(Stage.TEXT_TO_IMAGE, f"drew frame {facts.index}, which was not asked for")
                    await frames.put(facts.index, part(Kind.FRAMES, each.body, facts, each.digest))
                elif each.kind is Kind.PREVIEW:
                    preview(each)
                elif each.kind is Kind.DONE:
                    done = as_contract(DrawDone, each.body, Stage.TEXT_TO_IMAGE)
        seeds = [seed_of(plan.seed, index) for index in range(plan.frames)]
        if done is None or len(frames) != plan.frames or done.seeds != seeds:
            raise broken(Stage.TEXT_TO_IMAGE, f"did not draw the {plan.frames} frames that were asked for")
    return done


async def upload(
    request: BaseModel, frames: FrameSpool, indices: Iterable[int], before: Iterable[bytes] = ()
) -> AsyncGenerator[bytes]:
    """The body of a request that carries frames: what is asked, parts that go `before`, each frame as soon as it is
    there."""
    yield part(Kind.REQUEST, request)
    for each in before:
        yield each
    for index in indices:
        yield await frames.get(index)
    yield END_OF_STREAM


async def whole(request: BaseModel, frames: FrameSpool, indices: Sequence[int], before: Iterable[bytes]) -> Payload:
    """The same of frames that are there: a single one, as nearly always, in one go; of several, one after the other."""
    if len(indices) > 1:
        return upload(request, frames, indices, before)
    return [part(Kind.REQUEST, request), *before, *[await frames.get(index) for index in indices], END_OF_STREAM]


def check_model(plan: Plan, drawn: Drawn, stages: Stages) -> None:
    """Raises StageBroken when another model drew than the request was checked against, and has it described again."""
    if drawn.done.digest != plan.model.digest:
        stages.forget_model()
        raise broken(Stage.TEXT_TO_IMAGE, "drew with another model than it had described")


def choose(plan: Plan, drawn: Drawn) -> list[Chosen]:
    """The best candidate of each picture that safety lets leave; raises ImageRefused when a picture has none.

    A verdict or a ranking that is missing, or about other frames, is a broken stage: never a candidate that passes.
    """
    verdicts = {verdict.index: verdict for verdict in drawn.verdicts.verdicts}
    judgements = {frame.index: frame for frame in drawn.judgement.frames}
    rankings = {ranking.image: ranking.order for ranking in drawn.judgement.rankings}
    if set(verdicts) != set(range(plan.frames)):
        raise broken(Stage.SAFETY, "did not give a verdict on every frame")
    if set(judgements) != set(range(plan.frames)) or set(rankings) != set(range(plan.images)):
        raise broken(Stage.CURATION, "did not judge every frame")
    chosen = []
    for image in range(plan.images):
        first = image * plan.candidates
        if sorted(rankings[image]) != list(range(first, first + plan.candidates)):
            raise broken(Stage.CURATION, f"did not rank the candidates of picture {image}")
        allowed = [frame for frame in rankings[image] if not verdicts[frame].action.stops]
        if not allowed:
            raise _refused_images(drawn.verdicts, image, plan)
        chosen.append(Chosen(allowed[0], drawn.done.seeds[allowed[0]], judgements[allowed[0]]))
    return chosen


def order(drawn: DrawDone, plan: Plan, allowed: Allowed, chosen: list[Chosen], call: Call) -> PublishRequest:
    """How to encode, and what the label says."""
    label = label_of(plan, allowed.decision.policy, [each.seed for each in chosen], drawn.loras, call)
    return PublishRequest(
        count=len(chosen),
        format=plan.output_format,
        compression=plan.output_compression,
        origin=label,
        source=plan.source,
    )


def annotate(plan: Plan, call: Call) -> None:
    """What the request's span says: OpenTelemetry's generative attributes and ours; never a prompt."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    span.set_attributes(
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.output.type": "image",
            "gen_ai.provider.name": "bowerbird",
            "gen_ai.request.model": plan.model.name,
            "gen_ai.request.choice.count": plan.images,
            "gen_ai.request.seed": plan.seed,
            "gen_ai.response.model": plan.model.name,
            "gen_ai.response.id": call.request_id,
            "bowerbird.steps": plan.steps,
            "bowerbird.size": str(plan.size),
            "bowerbird.candidates": plan.candidates,
            "bowerbird.model.digest": plan.model.digest,
        }
    )


def _refused_images(verdicts: ImageDecisions, image: int, plan: Plan) -> ImageRefused:
    own = range(image * plan.candidates, (image + 1) * plan.candidates)
    reasons = sorted({reason for verdict in verdicts.verdicts if verdict.index in own for reason in verdict.reasons})
    return ImageRefused(
        f"The safety policy lets no candidate of picture {image + 1} of {plan.images} leave. Another seed may pass.",
        details={"reasons": reasons, "decision": verdicts.id, "policy": verdicts.policy.model_dump()},
    )
