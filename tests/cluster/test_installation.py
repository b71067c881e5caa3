"""`helm install` on a real Kubernetes: a picture comes out, and upgrades disturb nobody."""

from __future__ import annotations

import time

import httpx2
import pytest

from .release import PICTURE, READY_SECONDS, Release, drawing, painter

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


def test_images_are_kept_on_every_node_where_that_is_asked_for(bowerbird: Release) -> None:
    bowerbird.upgrade("--set", "prePull.enabled=true")
    try:
        nodes = [node["metadata"]["name"] for node in bowerbird.cluster.read("/api/v1/nodes")["items"]]
        assert sorted(bowerbird.nodes("pre-pull")) == sorted(nodes)
    finally:
        bowerbird.upgrade()
    assert not bowerbird.pods("pre-pull")


def test_a_stage_is_replaced_under_load_and_every_picture_comes(bowerbird: Release) -> None:
    before = bowerbird.pods("curation")
    with bowerbird.reached() as client, drawing(client) as told:
        bowerbird.kubectl("rollout", "restart", "deployment/curation")
        bowerbird.kubectl("rollout", "status", "deployment/curation", f"--timeout={READY_SECONDS}s")
        time.sleep(2)
    assert not before.keys() & bowerbird.pods("curation").keys()
    assert told.pictures
    assert told.errors == []
