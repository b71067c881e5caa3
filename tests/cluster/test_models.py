"""Where a bundle comes from: an image that the kubelet mounts, or a claim; what happens when it is not what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from bowerbird.embedded.finding import Level
from bowerbird.embedded.kubernetes import examine_cluster, kubectl
from bowerbird.settings import PACKAGED_MODELS

from .cluster import Cluster
from .oci import write_image
from .release import PICTURE, READY_SECONDS, Release

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

FLEDGLING = PACKAGED_MODELS / "fledgling"
CLAIM = "models"


def test_a_bundle_in_an_image_is_mounted_and_draws(bowerbird: Release, tmp_path: Path) -> None:
    load_bundle(bowerbird.cluster, "localhost/fledgling:whole", FLEDGLING, tmp_path)
    with drawing_with(bowerbird, "image=localhost/fledgling:whole"):
        assert draws(bowerbird)


def test_a_bundle_on_a_claim_is_mounted_and_draws(bowerbird: Release) -> None:
    on_node = bowerbird.cluster.machines["cpu"].folder / "var" / "models"
    shutil.copytree(FLEDGLING, on_node / "fledgling")
    for manifest in volume_of_node(bowerbird.namespace):
        bowerbird.cluster.kubectl("apply", "-f", "-", manifest=json.dumps(manifest))
    with drawing_with(bowerbird, f"claim={CLAIM}"):
        assert draws(bowerbird)


def test_an_altered_bundle_does_not_start_and_the_doctor_says_why(
    bowerbird: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(FLEDGLING, altered)
    tokenizer = altered / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    load_bundle(bowerbird.cluster, "localhost/fledgling:altered", altered, tmp_path)
    monkeypatch.setenv("PATH", bowerbird.cluster.environment["PATH"])
    monkeypatch.setenv("KUBECONFIG", str(bowerbird.cluster.kubeconfig))

    def diagnosis() -> str:
        found = examine_cluster(bowerbird.namespace, kubectl(bowerbird.namespace))
        return " ".join(each.fact for each in found if each.level is Level.FAIL)

    with drawing_with(bowerbird, "image=localhost/fledgling:altered", wait=False):
        bowerbird.cluster.until(
            lambda: "tokenizer.json" in diagnosis(), "a diagnosis that names the altered file", seconds=READY_SECONDS
        )
        assert draws(bowerbird), "the release before goes on serving"


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


@contextmanager
def drawing_with(release: Release, model: str, *, wait: bool = True) -> Iterator[None]:
    """The release with another place for text-to-image's bundle, while the block runs."""
    values = ["--set", f"services.text-to-image.model.{model}", "--set", "services.text-to-image.model.path=fledgling"]
    release.upgrade(*values, wait=wait)
    try:
        yield
    finally:
        release.upgrade()


def draws(release: Release) -> bool:
    """Whether the gateway answers with a picture."""
    with release.reached() as client:
        answer = client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"})
    return bool(answer.status_code == httpx2.codes.OK)
