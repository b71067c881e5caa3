"""Bowerbird in a cluster: installed by Helm from the chart and the images of this tree, asked as a client asks."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx2
import openai

from .binaries import program
from .chart import CHART
from .cluster import Cluster
from .network import node_address
from .node import NODES
from .product_images import TARGETS, archive

READY_SECONDS = 300
EXAMPLE = CHART / "examples" / "laptop.yaml"
MODELS = ("safety", "text-to-image", "curation")
"""What EXAMPLE has beside the gateway."""
REPLICAS = "custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas"
KEYS_SECRET = "bowerbird-keys"
BREATH_SECONDS = 0.7
PICTURE: Final = {"prompt": "an american robin perched on a branch in winter", "seed": 7, "size": "256x256"}


@dataclass(frozen=True, slots=True)
class Release:
    """An installation: its cluster, its namespace (which is its name too), an administrator's key, and what every
    upgrade of it is told."""

    cluster: Cluster
    namespace: str
    key: str
    options: tuple[str, ...] = ()

    def kubectl(self, *arguments: str) -> str:
        """What kubectl printed about this namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def upgrade(self, *options: str, wait: bool = True) -> None:
        """Installs the chart of this tree, or upgrades to it; returns when every pod is ready, unless told not to."""
        arguments = ["--namespace", self.namespace, "--values", str(EXAMPLE), *self.options, *options]
        if wait:
            arguments += ["--wait", "--timeout", f"{READY_SECONDS}s"]
        self.cluster.helm("upgrade", "--install", self.namespace, str(CHART), *arguments)

    def rollback(self) -> None:
        """Goes back to the revision before."""
        arguments = ["--namespace", self.namespace, "--wait", "--timeout", f"{READY_SECONDS}s"]
        self.cluster.helm("rollback", self.namespace, *arguments)

    def wanted(self) -> Mapping[str, int]:
        """Service -> how many pods its Deployment wants."""
        listed = self.cluster.read(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")["items"]
        return {each["metadata"]["name"]: each["spec"]["replicas"] for each in listed}

    def pods(self, component: str = "") -> Mapping[str, str]:
        """Name -> UID of the pods of a service, or of all, that are not about to end."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.listed(component)}

    def nodes(self, component: str) -> list[str]:
        """On which nodes a service's pods are, of those that have one."""
        return [pod["spec"]["nodeName"] for pod in self.listed(component) if "nodeName" in pod["spec"]]

    def listed(self, component: str = "") -> list[Any]:
        """Those pods, as the API server has them."""
        selector = f"app.kubernetes.io/instance={self.namespace}"
        selector += f",app.kubernetes.io/component={component}" if component else ""
        listed = self.cluster.read(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=selector)
        return [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]

    @contextmanager
    def reached(self, target: str = "service/gateway") -> Iterator[httpx2.Client]:
        """A client of a gateway through a forwarded port, as a developer reaches it."""
        port = free_port()
        command = [str(program("kubectl")), "--namespace", self.namespace, "port-forward", target, f"{port}:8000"]
        start = partial(subprocess.Popen, command, env=self.cluster.environment, stdout=subprocess.DEVNULL)
        forward = start()

        def answers() -> bool:
            nonlocal forward
            if forward.poll() is not None:  # it gives up where a pod is only about to listen
                forward = start()
            return _answers(client)

        try:
            headers = {"Authorization": f"Bearer {self.key}"}
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as client:
                self.cluster.until(answers, "a gateway that answers")
                yield client
        finally:
            forward.terminate()
            forward.wait()

    @contextmanager
    def reached_by_node(self) -> Iterator[httpx2.Client]:
        """A client of whichever gateway kube-proxy gives, without the API server in between; a Service of type
        NodePort."""
        path = "jsonpath={.spec.ports[0].nodePort}"
        port = self.kubectl("get", "service", "gateway", "--output", path)
        headers = {"Authorization": f"Bearer {self.key}"}
        address = f"http://{node_address(NODES[0].number)}:{port}"
        with httpx2.Client(base_url=address, headers=headers, timeout=300) as client:
            self.cluster.until(partial(_answers, client), "a gateway that answers at its node")
            yield client

    @contextmanager
    def watched(self, kind: str, columns: str) -> Iterator[list[tuple[float, str]]]:
        """What the namespace's objects were at any time while the block ran: when it was heard of (monotonic), a
        line."""
        command = [str(program("kubectl")), "--namespace", self.namespace, "get", kind, "--watch", "--no-headers"]
        lines: list[tuple[float, str]] = []
        watch = subprocess.Popen(
            [*command, "--output", columns], env=self.cluster.environment, stdout=subprocess.PIPE, text=True
        )
        told = watch.stdout
        assert told is not None

        def read() -> None:
            lines.extend((time.monotonic(), line.strip()) for line in told)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield lines
        finally:
            watch.terminate()
            watch.wait()
            reader.join()
            told.close()


def woken(changes: Iterable[tuple[float, str]]) -> dict[str, float]:
    """Model -> when it was first wanted, of what `watched` heard with the columns REPLICAS."""
    found: dict[str, float] = {}
    for heard, line in changes:
        name, _, replicas = line.partition(" ")
        if name in MODELS and replicas.strip() == "1":
            found.setdefault(name, heard)
    return found


@contextmanager
def installed(cluster: Cluster, namespace: str, *options: str) -> Iterator[Release]:
    """A release in a namespace of its own, ready; both are gone afterwards."""
    loaded(cluster)
    release = release_of(cluster, namespace, *options)
    created(release)
    try:
        release.upgrade()
        yield release
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def loaded(cluster: Cluster) -> None:
    """Gives a cluster of ours the images of this tree, where it does not have them."""
    for target in TARGETS if cluster.machines else ():
        image = archive(target)
        loaded_once = cluster.folder / f"{image.name}.loaded"
        if not loaded_once.exists():
            cluster.load(image)
            loaded_once.touch()


def release_of(cluster: Cluster, namespace: str, *options: str) -> Release:
    """One that is not installed yet, with a key of its own."""
    return Release(cluster, namespace, secrets.token_urlsafe(24), options)


def created(release: Release) -> None:
    """Makes a release's namespace, which enforces `restricted`, and the Secret that it is told of, when that of an
    earlier run is gone."""
    leaving = ("get", "namespace", release.namespace, "--ignore-not-found", "-o=jsonpath={.metadata.deletionTimestamp}")
    release.cluster.until(lambda: not release.cluster.kubectl(*leaving), "the namespace of an earlier run that goes")
    release.cluster.kubectl("create", "namespace", release.namespace)
    enforced = "pod-security.kubernetes.io/enforce=restricted"
    release.cluster.kubectl("label", "namespace", release.namespace, enforced)
    keys = json.dumps([release.key])
    release.kubectl("create", "secret", "generic", KEYS_SECRET, f"--from-literal=admin-keys={keys}")


@contextmanager
def drawing(client: httpx2.Client, retries: int = 0, **asked: object) -> Iterator[Told]:
    """Somebody draws one picture after the other while the block runs, by OpenAI's client, which tries again as often
    as it is told to: not at all shows what an upgrade breaks. With a breath in between, since what starts meanwhile
    needs the cores too."""
    assert paint(client), "a chain that is reached, and awake"
    told, ended, images = Told(), threading.Event(), painter(client, retries).images

    def draw() -> None:
        for seed in itertools.count(1):
            if ended.is_set():
                return
            try:
                images.generate(prompt=str(PICTURE["prompt"]), extra_body={"seed": seed, "steps": 4, **asked})
                told.pictures += 1
            except openai.OpenAIError as error:
                told.errors.append(str(error))
            ended.wait(BREATH_SECONDS)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()


def drawn(release: Release) -> str:
    """A picture that nobody has drawn before, as base64 of a PNG; raises openai.OpenAIError."""
    with release.reached() as client:
        return paint(client)


def painter(client: httpx2.Client, retries: int = openai.DEFAULT_MAX_RETRIES) -> openai.OpenAI:
    """OpenAI's client, with the retries that it has by default: a gateway says 503 until it has seen a new pod."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=retries)


def paint(client: httpx2.Client, **asked: object) -> str:
    """The first of the pictures that OpenAI's client asks for, drawn anew, as base64; raises openai.OpenAIError."""
    wished = {**PICTURE, "cache": "fresh", **asked}
    prompt = str(wished.pop("prompt"))
    answer = painter(client).images.generate(prompt=prompt, extra_body=wished, timeout=300)
    assert answer.data
    return str(answer.data[0].b64_json)


@dataclass(slots=True)
class Told:
    """What somebody who draws one picture after the other was answered."""

    pictures: int = 0
    errors: list[str] = field(default_factory=list)


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
