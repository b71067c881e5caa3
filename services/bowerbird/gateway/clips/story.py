"""The story of a clip: as that of pictures (`gateway.story`), with frames that belong together.

    check_prompt   safety decides before anything is computed (the job's acceptance asked it too)
    begun          the picture that it begins with, where there is one, is opened and looked at
    admit          a slot of animation
    animate        frames arrive in their order, and go on to curation (judge) and safety (check_clips) at once
    choose         the best candidate that safety lets leave: one that flashes, or shows what it must not, does not
    publish        encoded, labelled and signed

A clip is carried by a job: nobody's connection waits for it here, and whatever ends it early closes the stages'. An
animation that is full, or dies while it draws, is not the end of it: the clip is drawn elsewhere, from the same seed to
the same frames. A death is forgiven once.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from bowerbird.contracts import (
    ClipCheck,
    ClipDecisions,
    ClipJudgement,
    ClipScores,
    CurationDescription,
    DrawDone,
    DrawProgress,
    FrameFacts,
    JudgeClips,
    PublishClip,
    seed_of,
)
from bowerbird.errors import ImageRefused, StageBroken, StageUnavailable
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.asking_again import again
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.beginning import begun
from bowerbird.gateway.clips.endpoints import CHAIN
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.clips.progress import Hearing
from bowerbird.gateway.clips.waiting import admit, ticket_of
from bowerbird.gateway.editing import LOOKERS, Read
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.publishing import Published, label_of, published, source_of
from bowerbird.gateway.spool import FrameSpool, frame_spool
from bowerbird.gateway.story import FORGIVEN_LOSSES, Allowed, check_prompt, upload
from bowerbird.gateway.upstream import Stage, as_contract, broken, facts_as
from bowerbird.gateway.waiting import Attempt, slot
from bowerbird.parts import Kind, part


@dataclass(frozen=True, slots=True)
class Drawn:
    """What three stages say about the candidates of one clip."""

    done: DrawDone
    judgement: ClipJudgement
    checked: ClipDecisions


@dataclass(frozen=True, slots=True)
class Clip:
    """How the story ends when it ends well: the file, and what the answer says of it."""

    content: bytes
    allowed: Allowed
    seed: int
    scores: ClipScores
    drawn: Drawn
    curation: CurationDescription


async def tell_clip(
    plan: ClipPlan, call: Call, gateway: Gateway, place: Tell | None = None, read: Read | None = None
) -> Clip:
    """Draws what was planned; raises the first fact that speaks against it. While it waits, `place` hears its place.

    `read` gives the file of the picture that it begins with.
    """
    async with call.within_patience():
        await gateway.demand.waking.until_awake(LOOKERS if read else LOOKERS[:1], call, CHAIN)
        async with call.within_deadline():
            allowed = await check_prompt(plan, call, gateway.upstream)
            if read is not None:
                plan = await begun(plan, read, call, gateway.upstream)
        async with gateway.animators.admission.place(ticket_of(plan, call, gateway.settings), place) as turn:
            gateway.demand.demand.look(Stage.ANIMATION)
            while True:
                attempt = await admit(turn, call, gateway)
                gateway.animators.require(plan.model)
                try:
                    return await _compute(plan, allowed, attempt, gateway)
                except (StageUnavailable, StageBroken):
                    if not turn.waits_again or turn.losses > FORGIVEN_LOSSES:
                        raise


async def _compute(plan: ClipPlan, allowed: Allowed, attempt: Attempt, gateway: Gateway) -> Clip:
    """Everything after the queue, within the time that computing may take."""
    call, upstream = attempt.call, attempt.upstream
    async with call.within_deadline(), frame_spool(gateway.settings.spool_bytes) as frames:
        drawn = await _animate_judge_and_check(plan, allowed, frames, attempt)
        if drawn.done.digest != plan.model.digest:
            gateway.animators.forget_model()
            raise broken(Stage.ANIMATION, "drew with another model than it had described")
        best = choose(plan, drawn)
        own = range(best * plan.frames, (best + 1) * plan.frames)
        frames.keep_only(own)
        seed = drawn.done.seeds[best]
        wanted = PublishClip(
            frames=plan.frames,
            frames_per_second=plan.frames_per_second,
            drawn_frames=plan.drawn_frames,
            loop=plan.loop,
            format=plan.format,
            quality=plan.quality,
            origin=label_of(plan, allowed.decision.policy, [seed], {}, call),
            source=None if plan.original is None else plan.original.media_type,
        )
        with call.stage("publish"):

            async def ask() -> Published:
                body = upload(wanted, frames, own, await source_of(plan))
                return await published(1, upstream.publish_clip(body, call))

            files = await again(ask)
    call.seconds.update({f"animate.{phase}": seconds for phase, seconds in drawn.done.seconds.items()})
    return Clip(files.pictures[0], allowed, seed, drawn.judgement.clips[best], drawn, files.curation)


async def _animate_judge_and_check(plan: ClipPlan, allowed: Allowed, frames: FrameSpool, attempt: Attempt) -> Drawn:
    """Three stages at once over the same frames; the first that fails ends the others."""
    call, upstream = attempt.call, attempt.upstream
    form = {"clips": plan.candidates, "frames": plan.frames, "frames_per_second": plan.frames_per_second}
    to_judge = JudgeClips.model_validate({**form, "prompt": allowed.prompt, "loop": plan.loop})
    to_check = ClipCheck.model_validate({**form, "repeats": plan.repeats})
    everything = range(plan.all_frames)

    async def judge() -> ClipJudgement:
        with call.stage("judge"):
            return await again(lambda: upstream.judge_clips(upload(to_judge, frames, everything), call))

    async def check() -> ClipDecisions:
        with call.stage("check_clips"):
            return await again(lambda: upstream.check_clips(upload(to_check, frames, everything), call))

    try:
        async with asyncio.TaskGroup() as stages:
            judging, checking = stages.create_task(judge()), stages.create_task(check())
            animating = stages.create_task(_animate(plan, allowed, frames, attempt))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
    return Drawn(animating.result(), judging.result(), checking.result())


async def _animate(plan: ClipPlan, allowed: Allowed, frames: FrameSpool, attempt: Attempt) -> DrawDone:
    """Keeps each frame as it arrives; raises StageBroken when others come than were asked for, or in another order."""
    request = plan.animate_request(allowed.prompt, allowed.negative_prompt)
    hearing = Hearing(plan, attempt.call.on_stage)
    done: DrawDone | None = None
    with attempt.call.stage("animate"), slot(attempt):
        begins_with = () if plan.original is None else plan.original.frames
        async with aclosing(attempt.upstream.animate(request, attempt.call, begins_with)) as parts:
            async for each in parts:
                if each.kind is Kind.FRAMES:
                    facts = facts_as(FrameFacts, each, Stage.ANIMATION)
                    if facts.index != len(frames) or facts.index >= plan.all_frames:
                        raise broken(Stage.ANIMATION, f"drew frame {facts.index}, which is not the next")
                    await frames.put(facts.index, part(Kind.FRAMES, each.body, facts, each.digest))
                    hearing.decoded(len(frames))
                elif each.kind is Kind.PROGRESS:
                    said = as_contract(DrawProgress, each.body, Stage.ANIMATION)
                    hearing.stepped(said.step, said.steps, said.finished)
                elif each.kind is Kind.DONE:
                    done = as_contract(DrawDone, each.body, Stage.ANIMATION)
        seeds = [seed_of(plan.seed, clip) for clip in range(plan.candidates)]
        if done is None or len(frames) != plan.all_frames or done.seeds != seeds:
            raise broken(Stage.ANIMATION, f"did not draw the {plan.all_frames} frames that were asked for")
    return done


def choose(plan: ClipPlan, drawn: Drawn) -> int:
    """The best candidate that safety lets leave; raises ImageRefused when there is none.

    A verdict, a score or a rank that is missing is a broken stage: never a candidate that passes.
    """
    clips = list(range(plan.candidates))
    verdicts = {verdict.index: verdict for verdict in drawn.checked.verdicts}
    if sorted(verdicts) != clips:
        raise broken(Stage.SAFETY, "did not give a verdict on every clip")
    ranked = drawn.judgement.ranking.order
    if [each.index for each in drawn.judgement.clips] != clips or sorted(ranked) != clips:
        raise broken(Stage.CURATION, "did not judge every clip")
    allowed = [clip for clip in ranked if not verdicts[clip].action.stops]
    if not allowed:
        reasons = sorted({reason for verdict in verdicts.values() for reason in verdict.reasons})
        raise ImageRefused(
            "The safety policy lets no candidate of the clip leave. Another seed may pass.",
            details={
                "reasons": reasons,
                "decision": drawn.checked.id,
                "policy": drawn.checked.policy.model_dump(),
            },
        )
    return allowed[0]
