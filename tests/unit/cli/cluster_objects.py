"""What `kubectl` tells the doctor of a release, and what the doctor makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bowerbird.embedded.finding import Finding, Level
from bowerbird.embedded.kubernetes import examine_cluster

LABELS = {"app.kubernetes.io/name": "bowerbird", "app.kubernetes.io/component": "gateway"}
FILES = {"secret": {"name": "keys", "items": [{"key": "admin-keys", "path": "bowerbird_admin_keys"}]}}
CREDENTIALS = {"name": "credentials", "projected": {"sources": [FILES]}}


def deployment(**pod: Any) -> dict[str, Any]:
    """The gateway's, one pod wanted and none ready."""
    container = {"name": "gateway", **pod.pop("container", {})}
    pod["volumes"] = [CREDENTIALS, *pod.get("volumes", ())]
    return {
        "metadata": {"name": "gateway", "labels": LABELS},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"spec": {"containers": [container], **pod}},
        },
        "status": {},
    }


def pod(status: dict[str, Any]) -> dict[str, Any]:
    """One of the gateway's."""
    return {"metadata": {"name": "gateway-1", "labels": LABELS}, "status": status}


def waiting(reason: str, message: str = "", last: str = "") -> dict[str, Any]:
    """The status of a pod whose container waits."""
    state = {"state": {"waiting": {"reason": reason, "message": message}}}
    ended = {"lastState": {"terminated": {"message": last}}} if last else {}
    return {"containerStatuses": [{**state, **ended}]}


def crashing(last: str) -> list[dict[str, Any]]:
    """The statuses of containers, of which one ends again and again with these last words."""
    statuses: list[dict[str, Any]] = waiting("CrashLoopBackOff", "back-off 10s", last)["containerStatuses"]
    return statuses


def ended(message: str = "", code: int = 1) -> dict[str, Any]:
    """How a container ended."""
    return {"terminated": {"message": message, "exitCode": code, "reason": "Error" if code else "Completed"}}


def found(**objects: Sequence[dict[str, Any]]) -> list[Finding]:
    """What is found where these objects are, and the Secret that the gateway needs."""
    secret = {"metadata": {"name": "keys"}, "data": {"admin-keys": ""}}
    nothing = dict.fromkeys(("cronjobs", "jobs", "persistentvolumeclaims", "pods", "nodes"), ())
    everything = {**nothing, "deployments": [deployment()], "secrets": [secret], **objects}
    return list(examine_cluster("birds", lambda kind: everything[kind]))


def failures(**objects: Sequence[dict[str, Any]]) -> list[str]:
    """The facts that fail."""
    return [each.fact for each in found(**objects) if each.level is Level.FAIL]
