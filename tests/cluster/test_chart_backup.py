"""Backups as the chart makes them: who copies what to where, on which node, and who begins with one."""

from __future__ import annotations

import os
from typing import Any

import pytest

from .binaries import program
from .chart import KEYS, mounted, objects, pod_of, refusal, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
BUCKET = ("--set", "backup.url=s3://backups/bowerbird", "--set", "backup.existingSecret=elsewhere")
SEVERAL = ("--set", "database.existingSecret=db", "--set", "webhooks.existingSecret=hooks")
PICTURES = ("--set", "pictures.url=s3://pictures", "--set", "pictures.existingSecret=here")


def job(rendered: list[Any]) -> dict[str, Any]:
    """The pod that the CronJob makes."""
    (found,) = [
        each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in rendered if each["kind"] == "CronJob"
    ]
    return dict(found)


def said_to(container: dict[str, Any]) -> dict[str, str]:
    """Its variables that have a value."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_with_postgresql_it_reads_that_and_the_bucket_of_the_pictures() -> None:
    pod = job(objects(render(None, *KEYS, *SEVERAL, *PICTURES, *BUCKET)))
    (container,) = pod["containers"]
    assert container["command"] == ["bowerbird", "backup", "write"]
    said = said_to(container)
    assert (said["BOWERBIRD_PICTURES_URL"], said["BOWERBIRD_BACKUP_URL"]) == ("s3://pictures", "s3://backups/bowerbird")
    assert mounted(pod, container, said["BOWERBIRD_PICTURES_SECRETS"]) == "here"
    assert mounted(pod, container, said["BOWERBIRD_BACKUP_SECRETS"]) == "elsewhere"
    (credentials,) = [each["projected"]["sources"] for each in pod["volumes"] if each["name"] == "credentials"]
    assert credentials == [{"secret": {"name": "db", "items": [{"key": "url", "path": "bowerbird_database_url"}]}}]
    assert "affinity" not in pod


def test_with_sqlite_it_comes_to_the_gateways_volume_on_the_gateways_node() -> None:
    pod = job(objects(render(None, *KEYS, *BUCKET)))
    (near,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "gateway"}} in pod["volumes"]
    assert said_to(pod["containers"][0])["BOWERBIRD_HOME"] == "/var/lib/bowerbird"


def test_a_claim_for_backups_is_mounted_where_their_url_says() -> None:
    folder = ("--set", "backup.url=file:///backup/bowerbird", "--set", "backup.existingClaim=nfs")
    rendered = objects(render(None, *KEYS, *folder, "--set", "backup.restore=latest"))
    (gateway,) = pod_of(rendered, "gateway")["initContainers"]
    for pod, container in ((job(rendered), job(rendered)["containers"][0]), (pod_of(rendered, "gateway"), gateway)):
        assert {"name": "backup", "persistentVolumeClaim": {"claimName": "nfs"}} in pod["volumes"]
        assert [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "backup"] == ["/backup"]


def test_a_gateway_that_is_to_begin_with_a_backup_does_so_before_it_starts() -> None:
    rendered = objects(render(None, *KEYS, *SEVERAL, *PICTURES, *BUCKET, "--set", "backup.restore=20261122T031500Z"))
    pod = pod_of(rendered, "gateway")
    (restoring,) = pod["initContainers"]
    assert restoring["command"] == ["bowerbird", "backup", "restore", "20261122T031500Z", "--if-empty"]
    (serving,) = pod["containers"]
    assert said_to(serving).items() <= said_to(restoring).items(), "the same database, the same pictures"
    assert mounted(pod, restoring, said_to(restoring)["BOWERBIRD_BACKUP_SECRETS"]) == "elsewhere"
    assert "BOWERBIRD_BACKUP_SECRETS" not in said_to(serving)
    assert "elsewhere" not in [mounted(pod, serving, each["mountPath"]) for each in serving["volumeMounts"]]
    assert all(each["name"] in {one["name"] for one in pod["volumes"]} for each in restoring["volumeMounts"])


@pytest.mark.parametrize("restored", [(), ("--set", "backup.restore=latest")])
def test_the_gateway_has_its_buckets_secret_as_files_and_none_as_variables(restored: tuple[str, ...]) -> None:
    pod = pod_of(objects(render(None, *KEYS, *SEVERAL, *PICTURES, *BUCKET, *restored)), "gateway")
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert mounted(pod, container, said_to(container)["BOWERBIRD_PICTURES_SECRETS"]) == "here"


def test_nobody_asked_for_a_backup_gets_one() -> None:
    rendered = render(None, *KEYS)
    assert not any(word in rendered for word in ("CronJob", "initContainers", "BACKUP"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((*KEYS, "--set", "backup.restore=latest"), "where is the backup?"),
        ((*KEYS, *BUCKET, "--set", "storage.size="), "in the gateway's own pod, where no other comes"),
        ((*KEYS, "--set", "backup.url=file:///backup"), "name a claim, backup.existingClaim"),
        ((*KEYS, "--set", "backup.existingSecret=x"), "backup.existingSecret is for a bucket"),
        ((*KEYS, *BUCKET, "--set", "backup.restore=yesterday"), "/backup/restore"),
        ((*KEYS, *BUCKET, "--set", "backup.schedule=daily"), "/backup/schedule"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*options)
