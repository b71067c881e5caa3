"""Bowerbird in a cluster: installed by Helm from the chart and the images of this tree, asked as a client asks."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2

from .binaries import program
from .chart import CHART
from .cluster import Cluster
from .product_images import TARGETS, archive

READY_SECONDS = 300
EXAMPLE = CHART / "examples" / "laptop.yaml"
KEYS_SECRET = "bowerbird-keys"


@dataclass(frozen=True, slots=True)
class Release:
    """An installation: its cluster, its namespace (which is its name too) and an administrator's key."""

    cluster: Cluster
    namespace: str
    key: str

    def kubectl(self, *arguments: str) -> str:
        """What kubectl printed about this namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def upgrade(self, *options: str, wait: bool = True) -> None:
        """Installs the chart of this tree, or upgrades to it; returns when every pod is ready, unless told not to."""
        arguments = ["--namespace", self.namespace, "--values", str(EXAMPLE), *options]
        if wait:
            arguments += ["--wait", "--timeout", f"{READY_SECONDS}s"]
        self.cluster.helm("upgrade", "--install", self.namespace, str(CHART), *arguments)

    def pods(self, component: str = "") -> Mapping[str, str]:
        """Name -> UID of the pods of a service, or of all, that are not about to end."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self._pods(component)}

    def nodes(self, component: str) -> list[str]:
        """On which nodes a service's pods are."""
        return [pod["spec"]["nodeName"] for pod in self._pods(component)]

    def _pods(self, component: str) -> list[Any]:
        selector = f"app.kubernetes.io/instance={self.namespace}"
        selector += f",app.kubernetes.io/component={component}" if component else ""
        listed = json.loads(self.kubectl("get", "pods", "--selector", selector, "--output", "json"))
        return [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]

    @contextmanager
    def reached(self) -> Iterator[httpx2.Client]:
        """A client of the gateway through a forwarded port, as a developer reaches it."""
        port = free_port()
        command = [str(program("kubectl")), "--namespace", self.namespace, "port-forward", "service/gateway"]
        forward = subprocess.Popen([*command, f"{port}:8000"], env=self.cluster.environment, stdout=subprocess.DEVNULL)
        try:
            headers = {"Authorization": f"Bearer {self.key}"}
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as client:
                self.cluster.until(partial(_answers, client), "a gateway that answers")
                yield client
        finally:
            forward.terminate()
            forward.wait()


@contextmanager
def installed(cluster: Cluster, namespace: str) -> Iterator[Release]:
    """A release in a namespace of its own, ready; both are gone afterwards."""
    for target in TARGETS if cluster.machines else ():
        cluster.load(archive(target))
    release = Release(cluster, namespace, secrets.token_urlsafe(24))
    cluster.kubectl("create", "namespace", namespace)
    try:
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        keys = json.dumps([release.key])
        release.kubectl("create", "secret", "generic", KEYS_SECRET, f"--from-literal=admin-keys={keys}")
        release.upgrade()
        yield release
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/livez").status_code == httpx2.codes.OK
    except httpx2.TransportError:
        time.sleep(0.1)
        return False
