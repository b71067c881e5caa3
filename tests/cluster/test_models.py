"""Where a bundle comes from: an image that the kubelet mounts, a claim, or a bucket that an init container fetches it
from; what happens when it is not what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bowerbird.settings import PACKAGED_MODELS

from ..relay import port_of
from ..s3 import RunningS3
from .cluster import Cluster
from .oci import write_image
from .outside import reachable
from .release import READY_SECONDS, Release, drawn
from .several import secret

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

FLEDGLING = PACKAGED_MODELS / "fledgling"
CLAIM = "models"
BUCKET = "bundles"
"""Secret with the credentials of the bucket."""


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(bowerbird: Release) -> Iterator[None]:
    yield
    bowerbird.upgrade()


@pytest.fixture(scope="module")
def bucket(bowerbird: Release, s3: RunningS3) -> Iterator[Callable[[Path, str], list[str]]]:
    """Puts a bundle into a bucket that pods reach; gives the values by which the chart finds it."""
    port = port_of(s3.environment["AWS_ENDPOINT_URL"])

    def put(bundle: Path, name: str) -> list[str]:
        shutil.copytree(bundle, s3.files / "pictures" / "models" / name)  # an object is a file
        return [f"url={s3.bucket_url}/models/{name}", f"existingSecret={BUCKET}", f"port={port}"]

    with reachable(port) as address:
        secret(bowerbird, BUCKET, **{**s3.environment, "AWS_ENDPOINT_URL": f"http://{address}:{port}"})
        yield put
        bowerbird.kubectl("delete", "secret", BUCKET)


def test_a_bundle_in_an_image_is_mounted_and_draws(bowerbird: Release, tmp_path: Path) -> None:
    load_bundle(bowerbird.cluster, "localhost/fledgling:whole", FLEDGLING, tmp_path)
    read_from(bowerbird, "image=localhost/fledgling:whole")
    assert drawn(bowerbird)


def test_a_bundle_on_a_claim_is_mounted_and_draws(bowerbird: Release) -> None:
    on_node = bowerbird.cluster.machines["cpu"].folder / "var" / "models"
    shutil.copytree(FLEDGLING, on_node / "fledgling")
    for manifest in volume_of_node(bowerbird.namespace):
        bowerbird.cluster.kubectl("apply", "-f", "-", manifest=json.dumps(manifest))
    read_from(bowerbird, f"claim={CLAIM}")
    assert drawn(bowerbird)


def test_a_bundle_in_a_bucket_is_fetched_and_draws(
    bowerbird: Release, bucket: Callable[[Path, str], list[str]]
) -> None:
    read_from(bowerbird, *bucket(FLEDGLING, "whole"))
    assert drawn(bowerbird)


def test_an_altered_bundle_does_not_start_and_the_doctor_says_why(
    bowerbird: Release, diagnosis: Callable[[Release], str], tmp_path: Path
) -> None:
    load_bundle(bowerbird.cluster, "localhost/fledgling:altered", altered(tmp_path), tmp_path)
    read_from(bowerbird, "image=localhost/fledgling:altered", wait=False)
    bowerbird.cluster.until(
        lambda: "tokenizer.json" in diagnosis(bowerbird),
        "the altered file's name",
        seconds=READY_SECONDS,
    )
    assert drawn(bowerbird), "the release before goes on serving"


def test_an_altered_object_of_a_bucket_does_not_start_and_the_doctor_says_why(
    bowerbird: Release, bucket: Callable[[Path, str], list[str]], diagnosis: Callable[[Release], str], tmp_path: Path
) -> None:
    read_from(bowerbird, *bucket(altered(tmp_path), "altered"), wait=False)
    bowerbird.cluster.until(
        lambda: "/models/altered/tokenizer.json is not the file" in diagnosis(bowerbird),
        "the altered object's name",
        seconds=READY_SECONDS,
    )
    assert drawn(bowerbird), "the release before goes on serving"


def test_a_secret_of_a_bucket_that_is_missing_is_named_by_the_doctor(
    bowerbird: Release, bucket: Callable[[Path, str], list[str]], diagnosis: Callable[[Release], str]
) -> None:
    url, _, port = bucket(FLEDGLING, "unopened")
    read_from(bowerbird, url, "existingSecret=nowhere", port, wait=False)
    bowerbird.cluster.until(lambda: "nowhere is not there." in diagnosis(bowerbird), "the Secret's name")
    assert drawn(bowerbird), "the release before goes on serving"


def altered(folder: Path) -> Path:
    """A bundle one file of which is not the one that it was written with."""
    made = folder / "altered"
    shutil.copytree(FLEDGLING, made)
    tokenizer = made / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    return made


def load_bundle(cluster: Cluster, name: str, bundle: Path, folder: Path) -> None:
    """Gives the nodes an image that holds a bundle as `/fledgling`."""
    files = {f"/fledgling/{each.relative_to(bundle)}": each for each in bundle.rglob("*") if each.is_file()}
    archive = folder / "bundle.tar"
    write_image(archive, name, files)
    cluster.load(archive)


def volume_of_node(namespace: str) -> list[dict[str, object]]:
    """A folder of the node `cpu` as a volume, and the claim that it is for."""
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    on_node = {"matchExpressions": [{"key": "bowerbird.dev/machine", "operator": "In", "values": ["cpu"]}]}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "local": {"path": "/var/models"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}},
        "claimRef": {"namespace": namespace, "name": CLAIM},
    }
    claim = {**common, "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": CLAIM}, "spec": volume},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": namespace},
            "spec": claim,
        },
    ]


def read_from(release: Release, *model: str, wait: bool = True) -> None:
    """Upgrades to a release whose text-to-image has its bundle from another place."""
    values = [word for each in (*model, "path=fledgling") for word in ("--set", f"services.text-to-image.model.{each}")]
    release.upgrade(*values, wait=wait)
