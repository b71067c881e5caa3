"""Pods of a release, each a server of its own, and the cluster that says which of them there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from ..stand_ins import Behaviour, StandIns, served
from .cluster import DRAINING, Cluster, endpoint

SERVICES = ("safety", "text-to-image", "curation", "animation")


class Pods:
    """Pods of every service, each a server of its own that answers for one stage."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self._stack = stack

    def start(self, service: str, pod: str | None = None, **behaviour: Any) -> StandIns:
        """A pod that is ready, in a slice of its own, since each has a port of its own here."""
        stand_ins = StandIns()
        stand_ins.behaviour = Behaviour(**behaviour)
        url = self._stack.enter_context(served(Rooted(stand_ins.app(), f"/{service}")))
        name = pod or f"{service}-0"
        self._ports = {**getattr(self, "_ports", {}), name: (service, urlsplit(url).port or 0)}
        self.cluster.put("pods", name)
        self._say(name, ready=True)
        return stand_ins

    def drain(self, pod: str) -> None:
        """It was told to end, and finishes what it has."""
        self._say(pod, **DRAINING)

    def remove(self, pod: str) -> None:
        """It is gone."""
        self.cluster.remove("endpointslices", f"slice-{pod}")
        self.cluster.remove("pods", pod)

    def annotations(self, pod: str) -> dict[str, Any]:
        """What is known of it by annotations."""
        found = self.cluster.objects["pods"][pod]["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if value is not None}

    def _say(self, pod: str, **conditions: bool) -> None:
        service, port = self._ports[pod]
        self.cluster.slice(service, endpoint("127.0.0.1", pod, **conditions), name=f"slice-{pod}", port=port)


class Rooted:
    """An app as if it were at the root of its server."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": self._root + scope["path"], "raw_path": (self._root + scope["path"]).encode()}
        await self._app(scope, receive, send)


def chain(pods: Pods, *but: str) -> dict[str, StandIns]:
    """One pod of each service."""
    return {service: pods.start(service) for service in SERVICES[:3] if service not in but}


def until(gateway: httpx2.Client, states: dict[str, str]) -> None:
    for _ in range(3000):
        found = {each["name"]: each["state"] for each in gateway.get("/readyz").json()["stages"]}
        if states.items() <= found.items():
            return
        time.sleep(0.01)
    raise AssertionError(found)


def becomes(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never became so")
