"""Several gateways on one PostgreSQL and one object store: what one of them was told, the others know and carry on."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2
import pytest

from ..postgresql import RunningPostgreSQL
from ..s3 import RunningS3
from .cluster import Cluster
from .jobs import accepted, finished
from .next_release import IMAGE, REVISION, load_next_gateway
from .release import MODELS, PICTURE, READY_SECONDS, Release, drawing
from .several import GATEWAYS, several_gateways

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

NAMESPACE = "shared"
COOLDOWN_SECONDS = 2
NEW = {**PICTURE, "cache": "fresh"}


@pytest.fixture(scope="module")
def release(cluster: Cluster, postgresql: RunningPostgreSQL, s3: RunningS3) -> Iterator[Release]:
    """Two gateways whose models sleep, installed and ready."""
    with several_gateways(cluster, NAMESPACE, postgresql, s3, COOLDOWN_SECONDS) as made:
        yield made


def test_the_database_is_made_by_a_job_before_the_gateways_start(
    release: Release, postgresql: RunningPostgreSQL
) -> None:
    assert len(release.pods("gateway")) == GATEWAYS
    assert not release.pods("migration"), "it is gone when it has done its work"
    assert postgresql.scalar("SELECT count(*) FROM revisions", NAMESPACE)


def test_whichever_gateway_is_asked_the_chain_wakes(release: Release) -> None:
    for gateway in release.pods("gateway"):  # one of them, at most, holds a stream of KEDA's
        sleep(release)
        with release.reached(f"pod/{gateway}") as client:
            answer = client.post("/v1/images/generations", json=NEW, timeout=300)
        assert answer.status_code == httpx2.codes.OK, answer.text


def test_a_job_of_one_gateway_is_known_at_the_other(release: Release) -> None:
    one, other = release.pods("gateway")
    with release.reached(f"pod/{one}") as client:
        headers = {"Prefer": "respond-async"}
        made = client.post("/v1/images/generations", json=NEW, headers=headers)
        assert made.status_code == httpx2.codes.ACCEPTED, made.text
    with release.reached(f"pod/{other}") as client:
        job = finished(client, made.json()["id"])
        assert job["status"] == "succeeded", job
        result = client.get(f"/v1/jobs/{job['id']}/result").raise_for_status().json()
    assert result["data"][0]["b64_json"].startswith("iVBORw0KGgo")  # PNG


def test_gateways_are_evicted_one_by_one_and_what_they_were_drawing_is_answered(release: Release) -> None:
    for gateway, asks in zip(release.pods("gateway"), (draws, streams), strict=True):
        with release.reached(f"pod/{gateway}") as client, ThreadPoolExecutor(1) as thread:
            asked = thread.submit(asks, client)
            release.cluster.until(lambda: computing(client), "a picture that is drawn")
            evict(release, gateway)
            assert asked.result()
        release.cluster.until(partial(replaced, release, gateway), "another gateway in its place")
        release.kubectl("rollout", "status", "deployment/gateway", f"--timeout={READY_SECONDS}s")


def test_gateways_are_replaced_under_load_and_every_picture_comes(release: Release) -> None:
    before = release.pods("gateway")
    with release.reached_by_node() as client, drawing(client) as told, drawing(client, n=2) as others:
        release.cluster.until(lambda: told.pictures > 0 and others.pictures > 0, "pictures", seconds=READY_SECONDS)
        release.upgrade("--set", "services.gateway.podAnnotations.round=two")
        time.sleep(2)
    assert not before.keys() & release.pods("gateway").keys()
    assert told.errors == others.errors == []


def test_an_upgrade_migrates_again_and_finds_nothing_to_do(release: Release) -> None:
    same = ("--set", "services.gateway.podAnnotations.round=two")
    before = release.pods("gateway")
    release.upgrade(*same)
    assert release.pods("gateway") == before


def test_the_next_release_migrates_under_load_and_this_one_goes_on_where_it_was(
    release: Release, postgresql: RunningPostgreSQL, tmp_path: Path
) -> None:
    load_next_gateway(release.cluster, tmp_path)
    same = "services.gateway.podAnnotations.round=two"
    with release.reached_by_node() as client, drawing(client) as told, drawing(client, n=2) as others:
        jobs = [accepted(client)]
        release.upgrade("--set", same, "--set", f"services.gateway.image={IMAGE}")
        assert revision(postgresql) == REVISION
        jobs.append(accepted(client))
        release.rollback()
        jobs.append(accepted(client))
        assert revision(postgresql) == REVISION, "Helm runs the older release's Job, which leaves it as it is"
        so_far = told.pictures
        release.cluster.until(lambda: told.pictures > so_far, "a picture of the release before", seconds=READY_SECONDS)
        states = [finished(client, job)["status"] for job in jobs]
    assert told.errors == others.errors == []
    assert states == ["succeeded"] * len(jobs)


def test_keys_of_the_store_and_the_databases_password_are_replaced_and_no_gateway_starts_again(
    release: Release, postgresql: RunningPostgreSQL, s3: RunningS3
) -> None:
    gateways, keys = started(release), [s3.new_key() for _ in range(2)]
    with release.reached_by_node() as client:
        job = accepted(client)
        assert finished(client, job)["status"] == "succeeded"
    for times, key in enumerate(keys, start=1):
        say(release, "store", {name: key[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")})
        for gateway in release.pods("gateway"):
            with release.reached(f"pod/{gateway}") as client:
                reads = partial(reads_anew, release, gateway, times, partial(result, client, job))
                release.cluster.until(reads, "a gateway that has read the key", seconds=180)
    s3.take_away(keys[0])

    postgresql.ask_for_password("renewed")
    postgresql.execute("CREATE ROLE renewed SUPERUSER LOGIN PASSWORD 'of-this-test'")
    url = json.loads(release.kubectl("get", "secret", "database", "--output", "jsonpath={.data}"))["url"]
    say(release, "database", {"url": b64decode(url).decode().replace("//bowerbird@", "//renewed:of-this-test@")})
    release.cluster.until(partial(connect_again, postgresql, "renewed"), "connections by the new password", seconds=180)

    with release.reached_by_node() as client:
        result(client, job)
        job = accepted(client)
        assert finished(client, job)["status"] == "succeeded"
        result(client, job)
    assert started(release) == gateways


def draws(client: httpx2.Client) -> bool:
    """Whether several pictures come."""
    return client.post("/v1/images/generations", json={**NEW, "n": 4}, timeout=300).is_success


def streams(client: httpx2.Client) -> bool:
    """Whether a picture comes that is streamed while it is drawn."""
    asked = {**NEW, "steps": 50, "stream": True, "partial_images": 2}
    with client.stream("POST", "/v1/images/generations", json=asked, timeout=300) as answer:
        events = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    return answer.is_success and events[-1] == "image_generation.completed"


def started(release: Release) -> dict[str, int]:
    """Each gateway, and how often it was started again."""
    return {
        each["metadata"]["uid"]: sum(one["restartCount"] for one in each["status"]["containerStatuses"])
        for each in release.listed("gateway")
    }


def say(release: Release, secret: str, values: dict[str, str]) -> None:
    """Replaces keys of a Secret."""
    patch = json.dumps({"stringData": values})
    release.kubectl("patch", "secret", secret, "--type", "merge", "--patch", patch)


def result(client: httpx2.Client, job: str) -> None:
    """Has the gateway read a job's picture from the store."""
    client.get(f"/v1/jobs/{job}/result").raise_for_status()


def reads_anew(release: Release, gateway: str, times: int, use: Callable[[], None]) -> bool:
    """Whether it has read the store's key so often, now that it used it; the kubelet renews a file within a minute or
    two."""
    use()
    lines = release.kubectl("logs", gateway, "--container", "gateway").splitlines()
    return sum("read again" in line and "/etc/bowerbird/pictures" in line for line in lines) >= times


def connect_again(postgresql: RunningPostgreSQL, role: str) -> bool:
    """Ends the connections to the release's database that are not this role's; whether none of them was made again."""
    others = f"datname = '{NAMESPACE}' AND usename <> '{role}' AND pid <> pg_backend_pid()"
    postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")  # noqa: S608
    time.sleep(3)
    still = postgresql.scalar(f"SELECT count(*) FROM pg_stat_activity WHERE {others}", NAMESPACE)  # noqa: S608
    own = postgresql.scalar(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'", NAMESPACE)  # noqa: S608
    return still == 0 and own != 0


def revision(postgresql: RunningPostgreSQL) -> str:
    """Where the release's database is."""
    return str(postgresql.scalar("SELECT version_num FROM alembic_version", NAMESPACE))


def replaced(release: Release, gateway: str) -> bool:
    """Whether there are as many gateways as before, and this one is none of them."""
    others = release.pods("gateway")
    return len(others) == GATEWAYS and gateway not in others


def sleep(release: Release) -> None:
    """Returns when no model has a pod."""
    asleep = dict.fromkeys(MODELS, 0)
    release.cluster.until(
        lambda: {name: release.wanted()[name] for name in MODELS} == asleep, "every service asleep", seconds=120
    )


def computing(client: httpx2.Client) -> bool:
    """Whether a request of this gateway holds a slot of text-to-image."""
    (held,) = re.findall(r"^bowerbird_slots_held (.+)$", client.get("/metrics").text, re.MULTILINE)
    return float(held) > 0


def evict(release: Release, pod: str) -> None:
    """What `kubectl drain` asks for, of one pod."""
    metadata = {"name": pod, "namespace": release.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    release.cluster.kubectl("create", "--raw", path, "-f", "-", manifest=json.dumps(eviction))
