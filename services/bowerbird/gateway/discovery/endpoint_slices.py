"""EndpointSlices of a Service -> its endpoints (discovery.k8s.io/v1).

A Service with many pods, or with two kinds of addresses, has several slices; they are merged, and an endpoint that
moves from one to another stands in both for a while. Conditions that are absent mean what the API says they mean:
`ready` yes, `terminating` no
(https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SERVICE_LABEL = "kubernetes.io/service-name"
PORT_NAME = "http"
ADDRESSES = ("IPv4", "IPv6")


@dataclass(frozen=True, slots=True)
class Found:
    """A Service's endpoints by URL, each in one of three states."""

    ready: frozenset[str] = frozenset()
    """May be given new work."""
    starting: frozenset[str] = frozenset()
    terminating: frozenset[str] = frozenset()
    """Finish what they have."""
    pods: dict[str, str] = field(default_factory=dict)
    """URL -> name of the pod behind it."""


def endpoints_of(slices: Iterable[dict[str, Any]], service: str, scheme: str = "http") -> Found:
    """The endpoints of one Service in these slices; one that any slice calls terminating is."""
    ready: set[str] = set()
    starting: set[str] = set()
    terminating: set[str] = set()
    pods: dict[str, str] = {}
    for each in slices:
        port = _port(each)
        labels = each["metadata"].get("labels") or {}
        if labels.get(SERVICE_LABEL) != service or each.get("addressType") not in ADDRESSES or port is None:
            continue
        for endpoint in each.get("endpoints") or []:
            urls = {_url(scheme, address, port) for address in endpoint.get("addresses") or []}
            conditions = endpoint.get("conditions") or {}
            if conditions.get("terminating"):
                terminating |= urls
            elif conditions.get("ready") in (None, True):
                ready |= urls
            else:
                starting |= urls
            target = endpoint.get("targetRef") or {}
            if target.get("kind") == "Pod":
                pods |= dict.fromkeys(urls, target["name"])
    ready -= terminating
    return Found(frozenset(ready), frozenset(starting - terminating - ready), frozenset(terminating), pods)


def _port(of_slice: dict[str, Any]) -> int | None:
    """The port called `http`, or the only one; None for a slice of pods that listen nowhere."""
    ports = {each.get("name"): each.get("port") for each in of_slice.get("ports") or []}
    found = ports.get(PORT_NAME) if PORT_NAME in ports or len(ports) != 1 else next(iter(ports.values()))
    return None if found is None else int(found)


def _url(scheme: str, address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}"
