"""The story of an edit: as `story.tell` tells it, but beginning with a picture.

    check_prompt    as ever: before anything is computed or kept
    open            curation makes frames of the file, within bounds and at the size that is drawn; the gateway, none
    check_original  safety looks at the picture before anything is drawn from it
    admit … publish as ever; the file goes along once more, since its provenance becomes a part of the label

No stored picture answers an edit, and none is kept of it: the same file twice is rare, and to look for it would mean to
keep what somebody uploaded longer than its answer takes. Who wants that for the sake of the answer makes it a job
(`api.edit_drawing`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from bowerbird.contracts import ImageCheck, OpenDone, OpenRequest, Size
from bowerbird.errors import ImageRefused
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import Original, Plan
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.story import Told, annotate, check_prompt, wait_and_compute
from bowerbird.gateway.upstream import Stage, Upstream, as_contract, broken
from bowerbird.parts import Kind, body_of, part

USUAL_STRENGTH = 0.6
"""Of an edit without a mask: the picture is seen again, and so is the prompt."""

LOOKERS = (Stage.SAFETY, Stage.CURATION)
"""Who must be there before an edit may be computed, or a clip: the first for its prompt, both for a picture."""

Read = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Upload:
    """What the caller sent to begin with; each is read again where it is needed, so that it need not lie in memory."""

    image: Read
    mask: Read | None = None
    strength: float | None = None


async def tell_edit(
    plan: Plan, upload: Upload, call: Call, gateway: Gateway, place: Tell | None = None
) -> tuple[Plan, Told]:
    """Gives what was planned, and the plan with the picture that it began with.

    Raises the first fact that speaks against it.
    """
    annotate(plan, call)
    async with call.within_patience():
        await gateway.demand.waking.until_awake(LOOKERS, call, CHAIN)
        async with call.within_deadline():
            allowed = await check_prompt(plan, call, gateway.upstream)
            plan = await begun(plan, upload, call, gateway.upstream)
        result = await wait_and_compute(plan, allowed, call, gateway, place)
    return plan, Told(allowed, result, Source.FRESH)


async def begun(plan: Plan, upload: Upload, call: Call, upstream: Upstream) -> Plan:
    """The plan with its picture, once safety has seen that; raises what `open_original` does, and ImageRefused."""
    original = await open_original(plan, upload, call, upstream)
    await check_original(original, call, upstream)
    return replace(plan, original=original)


async def open_original(plan: Plan, upload: Upload, call: Call, upstream: Upstream) -> Original:
    """The upload as frames; raises RequestInvalid, naming `image` or `mask`, when it is no picture that is accepted."""
    files = [await read() for read in (upload.image, upload.mask) if read is not None]
    frames, done = await open_files(plan.size, files, call, upstream)
    usual = 1.0 if done.masked else max(USUAL_STRENGTH, 1 / plan.steps)
    return Original(upload.strength or usual, frames, done.media_type, upload.image)


async def open_files(
    size: Size, files: Sequence[bytes], call: Call, upstream: Upstream
) -> tuple[tuple[bytes, ...], OpenDone]:
    """A picture, and its mask where there is one, as frames parts; raises RequestInvalid, naming `image` or `mask`."""
    frames: list[bytes] = []
    done: OpenDone | None = None
    with call.stage("open"):
        sent = [part(Kind.FILE, each) for each in files]
        body = body_of(OpenRequest(size=size, masked=len(files) > 1), *sent)
        async with aclosing(upstream.open(body, call)) as parts:
            async for each in parts:
                if each.kind is Kind.FRAMES:
                    frames.append(part(Kind.FRAMES, each.body))
                elif each.kind is Kind.DONE:
                    done = as_contract(OpenDone, each.body, Stage.CURATION)
    if done is None or len(frames) != (2 if done.masked else 1):
        raise broken(Stage.CURATION, "did not open the picture whole")
    return tuple(frames), done


async def check_original(original: Original, call: Call, upstream: Upstream) -> None:
    """Raises ImageRefused when safety does not let the picture be drawn from."""
    picture, *_ = original.frames
    with call.stage("check_original"):
        decided = await upstream.check_images(body_of(ImageCheck(count=1), picture), call)
    verdicts = decided.verdicts
    if [verdict.index for verdict in verdicts] != [0]:
        raise broken(Stage.SAFETY, "did not give a verdict on the picture")
    if verdicts[0].action.stops:
        raise ImageRefused(
            "The safety policy does not let this picture be edited.",
            param="image",
            details={
                "reasons": verdicts[0].reasons,
                "decision": decided.id,
                "policy": decided.policy.model_dump(),
            },
        )
