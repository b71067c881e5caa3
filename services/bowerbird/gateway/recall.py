"""How a request is looked for before it is drawn: what it is called among the results, and what answers it.

A step of the story (`story.tell`), between the one that allows the prompt and the queue. What is stored, and who draws
for whom, is `results`; here it meets plans, calls and stages.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from bowerbird.contracts import Digest, LoraId
from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.call import Call
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import Plan, compute_units
from bowerbird.gateway.results.key import Subject, Versions, recipe_of
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.results import Given, Wanted
from bowerbird.gateway.upstream import Upstream


async def recall_or_draw(
    plan: Plan, subject: Subject, call: Call, gateway: Gateway, draw: Callable[[], Awaitable[Result]]
) -> Given:
    """A result that may answer, or what `draw` makes; how long the look-up took is written down where it is all."""
    began = time.perf_counter()
    versions = await versions_now(plan, call, gateway)
    if versions is None:
        return Given(await draw(), Source.FRESH)
    recipe = recipe_of(plan, subject, versions)
    wanted = Wanted(recipe, plan.seed, plan.lookup, compute_units(plan), call.work_class, call.person, call.began)
    given = await gateway.results.give(wanted, draw)
    if given.source in (Source.STORED, Source.SHARED):
        stage = "look_up" if given.source is Source.STORED else "share"
        call.seconds[stage] = time.perf_counter() - began
        call.metrics.stage_took(stage, call.seconds[stage])
    return given


async def versions_now(plan: Plan, call: Call, gateway: Gateway) -> Versions | None:
    """What would take part beside the model; None while that is not known, and nothing can be looked up or kept.

    Nor is it known where the drawing begins with somebody's picture: no recipe names that.
    """
    if plan.original is not None:
        return None
    loras = await lora_digests(plan, call, gateway.upstream)
    curation = gateway.stages.curation
    return None if loras is None or curation is None else Versions(curation, loras)


async def lora_digests(plan: Plan, call: Call, upstream: Upstream) -> dict[LoraId, Digest] | None:
    """What the plan's LoRAs are now; None when that cannot be known, and the drawing will say why."""
    if not plan.lora:
        return {}
    try:
        async with call.within_deadline():
            catalogue = await upstream.loras(call)
    except (StageUnavailable, StageBroken):
        return None
    digests = {each.id: each.digest for each in catalogue.loras}
    named = {each.id: digests.get(each.id) for each in plan.lora}
    return {name: digest for name, digest in named.items() if digest} if all(named.values()) else None
