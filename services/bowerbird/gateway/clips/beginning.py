"""The picture that a clip begins with: opened and looked at as that of an edit is (`gateway.editing`).

Twice: before the clip becomes a job, so that what may not be drawn from is refused at once and never kept, and before
it is drawn, since what safety decides by may have changed until then. Where it is transparent it lies on white: a clip
has no mask.
"""

from __future__ import annotations

from dataclasses import replace

from bowerbird.errors import ImageRefused, RequestInvalid
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.editing import Read, check_original, open_files
from bowerbird.gateway.plan import Original
from bowerbird.gateway.upstream import Upstream

FIELD = "input_reference"
"""What OpenAI calls it."""
_CURATIONS_FIELD = "image"


async def begun(plan: ClipPlan, read: Read, call: Call, upstream: Upstream) -> ClipPlan:
    """The plan with the picture in the file; raises RequestInvalid where it is none that is accepted, ImageRefused."""
    assert plan.strength is not None  # noqa: S101 - it begins with one
    try:
        (picture, *_), done = await open_files(plan.size, [await read()], call, upstream)
        original = Original(plan.strength, (picture,), done.media_type, read)
        await check_original(original, call, upstream)
    except RequestInvalid as error:
        if error.param != _CURATIONS_FIELD:
            raise
        fact = error.message.removeprefix(f"{_CURATIONS_FIELD}: ")
        raise RequestInvalid(f"{FIELD}: {fact}", param=FIELD) from error
    except ImageRefused as error:
        fact = "The safety policy does not let a clip begin with this picture."
        raise ImageRefused(fact, param=FIELD, details=error.details) from error
    return replace(plan, original=original)
