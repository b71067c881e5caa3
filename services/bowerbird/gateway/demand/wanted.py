"""From all demand to what an autoscaler is told: whether a variant is needed at all, and how many pods.

Wanted *pods*, with a target of 1 each: an autoscaler ignores what lies within its tolerance of the target, and 17
requests on two pods of 8 would be within it. Work on pods that are about to end keeps a variant active, since somebody
waits for it, and asks for no other pod (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bowerbird.gateway.demand.rows import Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """What all gateways together want of one variant."""

    active: bool
    pods: int


def wanted(rows: Iterable[Row], variant: str, requests_per_pod: float) -> Wanted:
    """Of the sum of all work, or the highest floor, whichever is more; never none of what is active."""
    own = [row.level for row in rows if row.variant == variant]
    if not any(level.active for level in own):
        return Wanted(False, 0)
    work = sum(level.queued + level.running for level in own)
    floor = max(level.pods for level in own)
    return Wanted(True, max(math.ceil(work / requests_per_pod), floor, 1))
