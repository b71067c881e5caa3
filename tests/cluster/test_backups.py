"""A backup on a real cluster: the CronJob copies PostgreSQL and a bucket, and an empty namespace begins with them."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2
import pytest

from ..postgresql import RunningPostgreSQL
from ..s3 import RunningS3
from .cluster import Cluster
from .outside import reachable
from .release import PICTURE, Release, created, loaded, paint, release_of

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

KEY = b64encode(b"k" * 32).decode()
JOB_SECONDS = 240.0


class Site:
    """A database and a bucket for releases that live one after the other."""

    def __init__(self, cluster: Cluster, server: RunningPostgreSQL, s3: RunningS3, address: str) -> None:
        self._cluster = cluster
        self._server = server
        self._s3 = s3
        self._address = address

    def installed(self, name: str, *options: str, key: str = "") -> Release:
        """A release with an empty database of its own, and with everybody's bucket; jobs belong to who has the key."""
        self._server.create(name)
        port = urlsplit(self._s3.environment["AWS_ENDPOINT_URL"]).port
        values = {
            "database.existingSecret": "database",
            "database.port": self._server.port,
            "webhooks.existingSecret": "webhooks",
            "pictures.existingSecret": "store",
            "pictures.url": f"s3://pictures/{name}",
            "pictures.port": port,
            "backup.url": "s3://pictures/backups",
            "backup.port": port,
        }
        said = [option for key, value in values.items() for option in ("--set", f"{key}={value}")]
        made = release_of(self._cluster, name, *said, *options)
        made = replace(made, key=key or made.key)
        created(made)
        url = self._server.url(name).replace("127.0.0.1", self._address)
        store = {**self._s3.environment, "AWS_ENDPOINT_URL": f"http://{self._address}:{port}"}
        for secret, literals in {
            "database": {"url": url},
            "webhooks": {"keys": json.dumps([KEY])},
            "store": store,
        }.items():
            stated = [f"--from-literal={key}={value}" for key, value in literals.items()]
            made.kubectl("create", "secret", "generic", secret, *stated)
        made.upgrade()
        return made


@pytest.fixture(scope="module")
def site(cluster: Cluster, postgresql: RunningPostgreSQL, s3: RunningS3) -> Iterator[Site]:
    """Where the rows and pictures of these tests are."""
    loaded(cluster)
    port = urlsplit(s3.environment["AWS_ENDPOINT_URL"]).port
    assert port is not None
    with reachable(postgresql.port, port) as address:
        yield Site(cluster, postgresql, s3, address)
        for name in ("before", "after"):
            cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def test_a_job_and_its_picture_are_there_after_everything_was_lost(site: Site, postgresql: RunningPostgreSQL) -> None:
    before = site.installed("before")
    with before.reached() as client:
        client.post("/v1/admin/tenants", json={"id": "birds"}).raise_for_status()
        headers = {"Prefer": "respond-async"}
        made = client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, headers=headers).json()
        picture = result(client, made["id"])
    before.kubectl("create", "job", "--from=cronjob/backup", "backup-now")
    before.kubectl("wait", "--for=condition=complete", "job/backup-now", "--timeout=120s")
    said = before.kubectl("logs", "job/backup-now")
    assert "pictures" in said, said
    before.cluster.kubectl("delete", "namespace", "before", "--wait=false")
    postgresql.drop("before")

    after = site.installed("after", "--set", "backup.restore=latest", key=before.key)
    with after.reached() as client:
        assert result(client, made["id"]) == picture
        assert "birds" in {each["id"] for each in client.get("/v1/admin/tenants").json()["data"]}
        assert paint(client)


def result(client: httpx2.Client, job: str) -> str:
    """The picture of a job, when it has ended."""
    deadline = time.monotonic() + JOB_SECONDS
    while (found := client.get(f"/v1/jobs/{job}").json())["status"] in {"queued", "running"}:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    said = client.get(f"/v1/jobs/{job}/result").raise_for_status().json()
    return str(said["data"][0]["b64_json"])
