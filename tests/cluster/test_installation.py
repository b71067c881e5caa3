"""`helm install` on a real Kubernetes: a picture comes out, and upgrades disturb nobody."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import openai
import pytest

from .release import PICTURE, READY_SECONDS, Release

pytestmark = pytest.mark.timeout(900)

SERVICES = {"gateway", "safety", "text-to-image", "curation"}


def test_an_installed_release_draws_a_picture(bowerbird: Release) -> None:
    with bowerbird.reached() as client:
        answer = painter(client).images.generate(prompt=str(PICTURE["prompt"]), extra_body={"seed": PICTURE["seed"]})
    assert answer.data is not None
    assert (answer.data[0].b64_json or "").startswith("iVBORw0KGgo")  # PNG


def test_its_helm_test_draws_one_too(bowerbird: Release) -> None:
    said = bowerbird.cluster.helm(
        "test", bowerbird.namespace, "--namespace", bowerbird.namespace, "--logs", "--timeout", f"{READY_SECONDS}s"
    )
    assert "Succeeded" in said


def test_without_a_key_nobody_draws(bowerbird: Release) -> None:
    with bowerbird.reached() as client:
        answer = client.post("/v1/images/generations", json=PICTURE, headers={"Authorization": "Bearer nobody's"})
    assert answer.status_code == httpx2.codes.UNAUTHORIZED


def test_every_pod_runs_as_nobody_on_a_root_file_system_that_it_cannot_write(bowerbird: Release) -> None:
    for name in bowerbird.pods():
        if name.endswith("-draw"):
            continue
        tried = "import os; print(os.getuid(), bool(os.statvfs('/').f_flag & os.ST_RDONLY))"
        assert bowerbird.kubectl("exec", name, "--", "python", "-c", tried).split() == ["65532", "True"]


def test_an_upgrade_that_changes_nothing_restarts_nothing(bowerbird: Release) -> None:
    before = {service: bowerbird.pods(service) for service in SERVICES}
    bowerbird.upgrade()
    assert {service: bowerbird.pods(service) for service in SERVICES} == before


def test_a_stage_is_replaced_under_load_and_every_picture_comes(bowerbird: Release) -> None:
    before = bowerbird.pods("curation")
    with bowerbird.reached() as client, drawing(client) as told:
        bowerbird.kubectl("rollout", "restart", "deployment/curation")
        bowerbird.kubectl("rollout", "status", "deployment/curation", f"--timeout={READY_SECONDS}s")
        time.sleep(2)
    assert not before.keys() & bowerbird.pods("curation").keys()
    assert told.pictures
    assert told.errors == []


@dataclass(slots=True)
class Told:
    """What somebody who draws one picture after the other was answered."""

    pictures: int = 0
    errors: list[str] = field(default_factory=list)


def painter(client: httpx2.Client) -> openai.OpenAI:
    """OpenAI's client, with the retries that it has by default: a gateway says 503 until it has seen a new pod."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key=key)


@contextmanager
def drawing(client: httpx2.Client) -> Iterator[Told]:
    """Somebody draws one picture after the other while the block runs."""
    told = Told()
    ended = threading.Event()
    images = painter(client).images

    def draw() -> None:
        for seed in itertools.count(1):
            if ended.is_set():
                return
            try:
                images.generate(prompt=str(PICTURE["prompt"]), extra_body={"seed": seed, "steps": 4})
                told.pictures += 1
            except openai.OpenAIError as error:
                told.errors.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()
