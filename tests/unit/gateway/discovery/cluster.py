"""A stand-in for Kubernetes' API server, over TLS, that speaks lists, watches and patches as the real one writes them.

A watch is one chunked answer with a JSON object a line; `resourceVersion` grows with every change; a bookmark says
where a watch is; a place that is forgotten is 410, as a status or as an event. What the real one does is tested on the
real one (tests/cluster); this one is for what that cannot be made to do on command.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..identity.api_server import OWN_TOKEN, _write_certificates
from ..stand_ins import served

Json = dict[str, Any]

KINDS = {
    "endpointslices": "EndpointSlice",
    "pods": "Pod",
    "events": "Event",
    "deployments": "Deployment",
    "scaledobjects": "ScaledObject",
}


@dataclass
class Cluster:
    """One namespace; `objects` by resource and name. Changed from the test's thread, served in another."""

    url: str = ""
    certificates: Path = Path()
    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    history: list[tuple[int, str, str, Json]] = field(default_factory=list)
    """Version, resource, type of the event and object of every change that is remembered."""
    version: int = 1000
    forgotten: int = 0
    """Changes up to this version cannot be watched any more."""
    away: bool = False
    lists: int = 0
    watches: list[int] = field(default_factory=list)
    """Where each watch began."""
    patches: list[tuple[str, Json]] = field(default_factory=list)
    token: str = OWN_TOKEN
    told: int = 0
    """The version up to which some watch was told what happened."""
    cut: int = 0
    """Grows to have every watch end now, as a restart of the API server does."""
    conflicts: bool = False

    # ------------------------------------------------------------------------------------------------ what happens

    def put(self, resource: str, name: str, **facts: Any) -> Json:
        """An object is made or changed."""
        known = name in self.objects[resource]
        self.version += 1
        metadata = {"name": name, "resourceVersion": str(self.version), **facts.pop("metadata", {})}
        self.objects[resource][name] = {"metadata": metadata, **facts}
        self._remember(resource, "MODIFIED" if known else "ADDED", self.objects[resource][name])
        return self.objects[resource][name]

    def remove(self, resource: str, name: str) -> None:
        """An object is deleted."""
        self.version += 1
        gone = self.objects[resource].pop(name)
        changed = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self._remember(resource, "DELETED", changed)

    def bookmark(self, resource: str) -> None:
        """Time passes: watches are told where they are."""
        self.version += 1
        place = {"kind": KINDS[resource], "metadata": {"resourceVersion": str(self.version)}}
        self._remember(resource, "BOOKMARK", place)

    def forget(self) -> None:
        """etcd is compacted: no watch can begin where one of before has been."""
        self.version += 1
        self.forgotten, self.history = self.version, []

    def fail(self, resource: str, code: int) -> None:
        """A watch that runs is told of an error."""
        self.version += 1
        self._remember(resource, "ERROR", {"kind": "Status", "status": "Failure", "code": code, "reason": "Expired"})

    def slice(self, service: str, *endpoints: Json, name: str | None = None, port: int = 3000) -> None:
        """An EndpointSlice of a Service."""
        self.put(
            "endpointslices",
            name or f"{service}-abcde",
            metadata={"labels": {"kubernetes.io/service-name": service}},
            addressType="IPv4",
            endpoints=list(endpoints),
            ports=[{"name": "http", "port": port, "protocol": "TCP"}],
        )

    def _remember(self, resource: str, kind: str, changed: Json) -> None:
        self.history.append((self.version, resource, kind, json.loads(json.dumps(changed))))

    # -------------------------------------------------------------------------------------------------- what it says

    def app(self) -> Starlette:
        base = "/apis/discovery.k8s.io/v1/namespaces/birds/endpointslices"
        apps, keda = "/apis/apps/v1/namespaces/birds/deployments", "/apis/keda.sh/v1alpha1/namespaces/birds"
        return Starlette(
            routes=[
                Route(base, self._of("endpointslices")),
                Route("/api/v1/namespaces/birds/pods", self._of("pods")),
                Route("/api/v1/namespaces/birds/pods/{name}", self._one("pods"), methods=["GET", "PATCH"]),
                Route("/api/v1/namespaces/birds/events", self._of("events")),
                Route(apps + "/{name}", self._one("deployments")),
                Route(apps + "/{name}/scale", self._scale, methods=["GET", "PATCH"]),
                Route(keda + "/scaledobjects/{name}", self._one("scaledobjects")),
            ]
        )

    def _refusal(self, request: Request) -> Response | None:
        if self.away:
            return Response(status_code=503)
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        return None

    def _of(self, resource: str) -> Any:
        async def endpoint(request: Request) -> Response:
            if refusal := self._refusal(request):
                return refusal
            selects = _selector(request.query_params.get("labelSelector", ""))
            if "watch" not in request.query_params:
                self.lists += 1
                concerns = request.query_params.get("fieldSelector", "")
                found = [
                    each for each in self.objects[resource].values() if selects(each) and _concerns(each, concerns)
                ]
                metadata = {"resourceVersion": str(self.version)}
                return JSONResponse({"kind": f"{KINDS[resource]}List", "metadata": metadata, "items": found})
            assert request.query_params["allowWatchBookmarks"] == "true"
            since = int(request.query_params["resourceVersion"])
            self.watches.append(since)
            if since < self.forgotten:
                return _status(410, "Expired")
            return StreamingResponse(self._events(resource, since, self.cut), media_type="application/json")

        return endpoint

    async def _events(self, resource: str, since: int, cut: int) -> AsyncIterator[bytes]:
        while self.cut == cut and not self.away:
            for version, of, kind, changed in list(self.history):
                if of == resource and version > since:
                    since = version
                    line = json.dumps({"type": kind, "object": changed}, separators=(",", ":")).encode() + b"\n"
                    yield line[:40]  # an event need not be one chunk
                    yield line[40:]
                    self.told = version
            await asyncio.sleep(0.002)

    def _one(self, resource: str) -> Any:
        async def endpoint(request: Request) -> Response:
            if refusal := self._refusal(request):
                return refusal
            name = request.path_params["name"]
            if name not in self.objects[resource]:
                return _status(404, "NotFound")
            if request.method == "PATCH":
                patch = await self._patch(request, f"{resource}/{name}")
                self.objects[resource][name]["metadata"] |= patch["metadata"]
            return JSONResponse(self.objects[resource][name])

        return endpoint

    async def _scale(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        name = request.path_params["name"]
        deployment = self.objects["deployments"][name]
        if request.method == "PATCH":
            patch = await self._patch(request, f"deployments/{name}/scale")
            if self.conflicts or patch["metadata"]["resourceVersion"] != deployment["metadata"]["resourceVersion"]:
                return _status(409, "Conflict")
            deployment = self.put("deployments", name, spec={"replicas": patch["spec"]["replicas"]})
        version, replicas = deployment["metadata"]["resourceVersion"], deployment["spec"]["replicas"]
        scale = {"kind": "Scale", "metadata": {"name": name, "resourceVersion": version}}
        return JSONResponse({**scale, "spec": {"replicas": replicas}, "status": {"replicas": replicas}})

    async def _patch(self, request: Request, path: str) -> Json:
        assert request.headers["content-type"] == "application/merge-patch+json"
        body: Json = await request.json()
        self.patches.append((path, body))
        return body


def _concerns(event: Json, selector: str) -> bool:
    """Whether an event is about the object that a field selector names."""
    wanted = (each.partition("=") for each in filter(None, selector.split(",")))
    return all(event["involvedObject"][field.removeprefix("involvedObject.")] == value for field, _, value in wanted)


def endpoint(address: str, pod: str = "", **conditions: bool) -> Json:
    """One endpoint of a slice; conditions that are not stated are absent."""
    target = {"targetRef": {"kind": "Pod", "name": pod, "namespace": "birds"}} if pod else {}
    return {"addresses": [address], "conditions": conditions, **target}


DRAINING = {"ready": False, "serving": True, "terminating": True}
STARTING = {"ready": False, "serving": False, "terminating": False}


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster on loopback; its CA is `folder`/ca.crt, the gateway's own token `folder`/token."""
    cluster = Cluster(certificates=folder)
    _write_certificates(folder)
    (folder / "token").write_text(OWN_TOKEN + "\n")
    tls = {"ssl_certfile": str(folder / "server.crt"), "ssl_keyfile": str(folder / "server.key")}
    with served(cluster.app(), **tls) as url:
        cluster.url = url.replace("http:", "https:")
        yield cluster
        cluster.cut += 1


def _selector(text: str) -> Any:
    """`label in (a,b)` and `label=value`, with commas between them."""
    wanted: dict[str, set[str]] = {}
    last = ""
    for each in text.replace(" in (", "=").replace(")", "").split(","):
        label, is_new, value = each.rpartition("=")
        last = label if is_new else last
        wanted.setdefault(last, set()).add(value)

    def selects(found: Json) -> bool:
        labels = found["metadata"].get("labels", {})
        return all(labels.get(label) in values for label, values in wanted.items() if label)

    return selects


def _status(code: int, reason: str) -> Response:
    return JSONResponse({"kind": "Status", "status": "Failure", "reason": reason, "code": code}, code)
