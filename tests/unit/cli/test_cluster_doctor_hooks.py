"""What `bowerbird doctor --cluster` says of the Jobs that Helm waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bowerbird.embedded.finding import Finding, Level

from .cluster_objects import LABELS, ended, failures, found, waiting

HOOK = {**LABELS, "app.kubernetes.io/component": "migration"}
DATABASE = {"secret": {"name": "database", "items": [{"key": "url", "path": "bowerbird_database_url"}]}}


def migration(**conditions: str) -> dict[str, Any]:
    """The Job that Helm waits for before there is a Deployment: what holds of it, and why."""
    held = [{"type": kind, "status": "True", "message": message} for kind, message in conditions.items()]
    volume = {"name": "credentials", "projected": {"sources": [DATABASE]}}
    made = {"spec": {"containers": [{"name": "migration"}], "volumes": [volume]}}
    return {
        "metadata": {"name": "migration", "labels": HOOK, "annotations": {"helm.sh/hook": "pre-install"}},
        "spec": {"selector": {"matchLabels": HOOK}, "template": made},
        "status": {"conditions": held},
    }


def attempt(second: int, **status: Any) -> dict[str, Any]:
    """A pod of this Job, made in this second."""
    made = f"2026-11-23T03:00:{second:02}Z"
    return {"metadata": {"name": f"migration-{second}", "labels": HOOK, "creationTimestamp": made}, "status": status}


def failed(message: str) -> dict[str, Any]:
    """The status of a pod that a Job does not start again."""
    return {"phase": "Failed", "containerStatuses": [{"state": ended(message)}]}


def of_hook(**objects: Sequence[dict[str, Any]]) -> Finding:
    """What is found of the migration where Helm has made nothing but its Job."""
    (finding,) = (each for each in found(deployments=[], **objects) if each.subject == "migration")
    return finding


def test_a_secret_that_a_first_installation_waits_for_is_named_before_there_is_a_deployment() -> None:
    stuck = attempt(0, phase="Pending", **waiting("ContainerCreating"))
    assert failures(deployments=[], jobs=[migration()], pods=[stuck]) == ["database is not there."]


@pytest.mark.parametrize(
    ("held", "pods", "reason"),
    [
        (
            {},
            [attempt(0, **failed("Traceback\nThe database was not migrated: x."))],
            "The database was not migrated: x",
        ),
        ({}, [attempt(9, **failed("Later.")), attempt(0, **failed("Earlier."))], "Later"),
        ({}, [attempt(9, phase="Running"), attempt(0, **failed("Refused."))], "Refused"),
        ({}, [attempt(0, **waiting("ImagePullBackOff", "not found"))], "its image cannot be pulled (not found)"),
        ({}, [attempt(0, **failed(""))], "Error"),
        ({}, [attempt(0, phase="Failed", message="The node was low on memory. ")], "The node was low on memory"),
        ({"Failed": "Job was active longer than specified deadline"}, [], "Job was active longer than"),
        ({"Failed": "Job has reached the specified backoff limit"}, [attempt(0, **failed("Refused."))], "Refused"),
    ],
)
def test_why_helm_does_not_go_on_is_said_in_the_last_words_of_who_tried(
    held: dict[str, str], pods: list[dict[str, Any]], reason: str
) -> None:
    finding = of_hook(jobs=[migration(**held)], pods=pods)
    assert finding.level is Level.FAIL
    assert finding.fact.startswith(f"Helm installs and upgrades nothing before this Job has done its work: {reason}")
    assert "kubectl describe job migration" in finding.advice


@pytest.mark.parametrize("held", [{}, {"Complete": ""}])
def test_a_hook_that_is_at_work_or_done_is_well(held: dict[str, str]) -> None:
    finding = of_hook(jobs=[migration(**held)], pods=[attempt(9, phase="Running"), attempt(0, phase="Succeeded")])
    assert finding.level is Level.OK


def test_a_job_that_is_no_hook_is_no_release() -> None:
    once = migration(Failed="")
    once["metadata"]["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
    assert failures(deployments=[], jobs=[once]) == ["No release of the chart is in the namespace birds."]
