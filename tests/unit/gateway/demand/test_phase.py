"""What Kubernetes says of a Deployment and its pods, as how far a stage is and what keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.demand.phase import MAX_REASON_CHARACTERS, Phase, Progress, is_paused, progress_of

DEPLOYMENT: dict[str, Any] = {"metadata": {"name": "draws"}, "spec": {"replicas": 1}, "status": {}}


def pod(*containers: dict[str, Any], scheduled: bool = True, ready: bool = False, **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True" if scheduled else "False"}]
    conditions += [{"type": "Ready", "status": str(ready)}]
    return {"metadata": metadata, "status": {"conditions": conditions, "containerStatuses": list(containers)}}


def waiting(reason: str, message: str = "", **rest: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **rest}


RUNNING = {"state": {"running": {"startedAt": "2026-11-21T12:00:00Z"}}}
FULL = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: Insufficient gpu"}
NO_ROOM = {"metadata": {}, "status": {"conditions": [FULL]}}


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        ([], Phase.DECIDE),
        ([{"metadata": {}, "status": {}}], Phase.SCHEDULE),
        ([pod(scheduled=False)], Phase.SCHEDULE),
        ([pod()], Phase.PULL),
        ([pod(waiting("ContainerCreating"))], Phase.PULL),
        ([pod(waiting("PodInitializing"))], Phase.START),
        ([pod(RUNNING)], Phase.LOAD),
        ([pod(RUNNING, ready=True)], Phase.READY),
        ([pod(waiting("ContainerCreating")), pod(RUNNING)], Phase.LOAD),
        ([pod(RUNNING, deletionTimestamp="2026-11-21T12:00:00Z")], Phase.DECIDE),
    ],
)
def test_the_pod_that_is_furthest_says_how_far(pods: list[dict[str, Any]], phase: Phase) -> None:
    assert progress_of(DEPLOYMENT, pods, None) == Progress(phase)


def fetching(state: dict[str, Any]) -> dict[str, Any]:
    """A pod whose init container, in this state, fetches the model."""
    made = pod(waiting("PodInitializing"))
    made["status"]["initContainerStatuses"] = [state]
    return made


def test_a_model_that_an_init_container_fetches_is_pulled() -> None:
    assert progress_of(DEPLOYMENT, [fetching(RUNNING)], None) == Progress(Phase.PULL)
    before = {"terminated": {"exitCode": 1, "reason": "Error", "message": "the store was away"}}
    done = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "lastState": before}
    assert progress_of(DEPLOYMENT, [fetching(done)], None) == Progress(Phase.START)


def test_a_model_that_cannot_be_fetched_is_a_reason_that_does_not_pass() -> None:
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": "s3://models/x is not there"}}
    found = progress_of(DEPLOYMENT, [fetching(waiting("CrashLoopBackOff", lastState=last))], None)
    assert found == Progress(Phase.LOAD, "CrashLoopBackOff: s3://models/x is not there", hopeless=True)


def test_an_image_that_is_tried_again_is_a_reason_to_wait() -> None:
    found = progress_of(DEPLOYMENT, [pod(waiting("ErrImagePull", "connection reset"))], None)
    assert found == Progress(Phase.PULL, "ErrImagePull: connection reset")


@pytest.mark.parametrize(
    "container",
    [
        {"state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such bundle"}}},
        {**RUNNING, "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such bundle"}}},
    ],
)
def test_a_container_that_has_ended_says_why_before_it_is_hopeless(container: dict[str, Any]) -> None:
    assert progress_of(DEPLOYMENT, [pod(container)], None) == Progress(Phase.LOAD, "Error: no such bundle")


def test_an_init_container_that_has_done_its_work_is_no_reason() -> None:
    before = {"terminated": {"exitCode": 1, "reason": "Error", "message": "the store was away"}}
    done = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "lastState": before}
    assert progress_of(DEPLOYMENT, [pod(done, RUNNING)], None) == Progress(Phase.LOAD)


def test_a_full_cluster_is_a_reason_to_wait_for_a_node() -> None:
    assert progress_of(DEPLOYMENT, [NO_ROOM], None) == Progress(
        Phase.NODE, "Unschedulable: 0/2 nodes: Insufficient gpu"
    )


@pytest.mark.parametrize(
    ("container", "phase", "reason"),
    [
        (waiting("ImagePullBackOff", "not\n found"), Phase.PULL, "ImagePullBackOff: not found"),
        (waiting("CreateContainerConfigError", "secret x not found"), Phase.START, "secret x not found"),
        (
            waiting("CrashLoopBackOff", "back-off", lastState={"terminated": {"message": "no such bundle"}}),
            Phase.LOAD,
            "CrashLoopBackOff: no such bundle",
        ),
        (waiting("CrashLoopBackOff", "back-off 10s"), Phase.LOAD, "back-off 10s"),
    ],
)
def test_what_does_not_pass_by_waiting_is_hopeless(container: dict[str, Any], phase: Phase, reason: str) -> None:
    found = progress_of(DEPLOYMENT, [pod(container)], None)
    assert (found.phase, found.hopeless) == (phase, True)
    assert reason in (found.reason or "")
    assert not progress_of(DEPLOYMENT, [pod(container), pod(RUNNING, ready=True)], None).hopeless, "another pod is well"


def test_a_quota_that_is_used_up_is_hopeless() -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}
    found = progress_of({**DEPLOYMENT, "status": {"conditions": [failed]}}, [], None)
    assert found == Progress(Phase.DECIDE, "FailedCreate: exceeded quota: gpus", hopeless=True)


@pytest.mark.parametrize(
    ("annotations", "paused"),
    [
        ({}, False),
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True),
    ],
)
def test_a_paused_scaled_object_is_left_alone_and_said(annotations: dict[str, str], paused: bool) -> None:
    scaled_object = {"metadata": {"annotations": annotations}}
    assert is_paused(scaled_object) == paused
    assert progress_of(DEPLOYMENT, [], scaled_object).hopeless == paused


@given(st.text(max_size=600))
def test_a_reason_is_one_line_of_bounded_length(message: str) -> None:
    reason = progress_of(DEPLOYMENT, [pod(waiting("ImagePullBackOff", message))], None).reason or ""
    assert len(reason) <= MAX_REASON_CHARACTERS
    assert len(reason.splitlines()) == 1
