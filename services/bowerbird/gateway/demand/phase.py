"""How far a stage that wakes has come, and what keeps it: read from its Deployment, its pods and its ScaledObject.

    decide      demand is told, nobody has made a pod yet
    schedule    a pod waits for a node that has room
    node        no node has room: one may be on its way (a node autoscaler), or the cluster is full
    pull        the image, or the volume with the model, is fetched, or the model by an init container
    start       the container is made
    load        the process reads its model
    ready       it is ready, and the gateway has not heard so yet
    first_step  it may be asked; the first step of what it was woken for, or its first answer, is still to come

A reason is Kubernetes' own sentence, one line of it. A volume that cannot be mounted (its Secret is missing, say) is in
no pod's status but in its events (`last_warning`). `hopeless` is what does not pass by waiting: somebody has to act,
and who waits is told so instead of being held (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_REASON_CHARACTERS = 300
PAUSED, PAUSED_AT = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"
BAD_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
BAD_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
CRASHES = "CrashLoopBackOff"
FAILED_PULL = "ErrImagePull"
"""The first time: the kubelet tries again before it says that the image cannot be had."""

Json = Mapping[str, Any]


class Phase(StrEnum):
    """How far, in the order in which it goes."""

    DECIDE = "decide"
    SCHEDULE = "schedule"
    NODE = "node"
    PULL = "pull"
    START = "start"
    LOAD = "load"
    READY = "ready"
    FIRST_STEP = "first_step"


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage on its way up."""

    phase: Phase = Phase.DECIDE
    reason: str | None = None
    """What keeps it there, where Kubernetes says so."""
    hopeless: bool = False


def progress_of(deployment: Json, pods: Sequence[Json], scaled_object: Json | None) -> Progress:
    """The progress of the pod that has come furthest; without one, why there is none."""
    alive = [each for each in pods if not each["metadata"].get("deletionTimestamp")]
    if alive:
        order = list(Phase)
        return max((_of_pod(each) for each in alive), key=lambda it: (order.index(it.phase), not it.hopeless))
    if scaled_object is not None and is_paused(scaled_object):
        return Progress(reason=_line("Paused", "the ScaledObject is paused by its annotation"), hopeless=True)
    failure = _condition(deployment, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return Progress(reason=_line(failure.get("reason"), failure.get("message")), hopeless=True)
    return Progress()


def last_warning(events: Sequence[Json]) -> str | None:
    """What the newest event of a pod says, where that is a warning: what follows upon one ends it."""
    newest = max(events, key=_when, default=None)
    if newest is None or newest.get("type") != "Warning":
        return None
    return _line(newest.get("reason"), newest.get("message"))


def is_paused(scaled_object: Json) -> bool:
    """Whether somebody told KEDA to leave this one alone."""
    annotations = scaled_object["metadata"].get("annotations") or {}
    return annotations.get(PAUSED, "false") != "false" or bool(annotations.get(PAUSED_AT))


def _of_pod(pod: Json) -> Progress:
    scheduled = _condition(pod, "PodScheduled") or {}
    if scheduled.get("status") != "True":
        if scheduled.get("reason") == "Unschedulable":
            return Progress(Phase.NODE, _line("Unschedulable", scheduled.get("message")))
        return Progress(Phase.SCHEDULE)
    status = pod.get("status") or {}
    before = status.get("initContainerStatuses") or []
    containers = [*before, *(status.get("containerStatuses") or [])]
    stuck = [found for each in containers if (found := _stuck(each)) is not None]
    if stuck:
        return stuck[0]
    if not containers or any("waiting" in (each.get("state") or {}) for each in containers):
        waiting = [each for container in containers if (each := (container.get("state") or {}).get("waiting"))]
        failed = next((each for each in waiting if each.get("reason") == FAILED_PULL), None)
        if failed is not None:
            return Progress(Phase.PULL, _line(FAILED_PULL, failed.get("message")))
        pulls = not containers or any(each.get("reason") == "ContainerCreating" for each in waiting)
        fetches = any("running" in (each.get("state") or {}) for each in before)
        return Progress(Phase.PULL if pulls or fetches else Phase.START, _fall(containers))
    ready = (_condition(pod, "Ready") or {}).get("status") == "True"
    return Progress(Phase.READY) if ready else Progress(Phase.LOAD, _fall(containers))


def _fall(containers: Sequence[Json]) -> str | None:
    """Why a container that is begun again ended before; None where none did."""
    for each in containers:
        ended = (each.get("state") or {}).get("terminated") or (each.get("lastState") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return _line(ended.get("reason"), ended.get("message"))
    return None


def _stuck(container: Json) -> Progress | None:
    """A container that does not get on by itself; None for one that does."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason")
    if reason in BAD_IMAGE:
        return Progress(Phase.PULL, _line(reason, waiting.get("message")), hopeless=True)
    if reason in BAD_CONTAINER:
        return Progress(Phase.START, _line(reason, waiting.get("message")), hopeless=True)
    if reason == CRASHES:
        last = (container.get("lastState") or {}).get("terminated") or {}
        return Progress(Phase.LOAD, _line(CRASHES, last.get("message") or waiting.get("message")), hopeless=True)
    return None


def _when(event: Json) -> str:
    """When it was seen last, RFC 3339 in UTC: their order is the text's."""
    seen = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or event["metadata"].get("creationTimestamp") or "")


def _condition(of: Json, kind: str) -> Json | None:
    conditions: list[Json] = (of.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), None)


def _line(reason: object, message: object) -> str:
    """`Reason: message`, one line of bounded length."""
    text = " ".join(f"{reason}: {message or 'Kubernetes does not say why'}".split())
    return text if len(text) <= MAX_REASON_CHARACTERS else text[: MAX_REASON_CHARACTERS - 1] + "…"
