"""A cluster that lacks what a release needs, KEDA or nodes with GPUs: `helm install` says so, and so does the doctor.

Helm and the doctor ask a real API server, which knows no kinds but Kubernetes' own and has no node.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import yaml

from bowerbird.embedded.finding import Level
from bowerbird.embedded.kubernetes import examine_cluster, kubectl

from .api_server import NEEDED, running_api_server
from .binaries import missing
from .chart import CHART, EXAMPLES, objects, render
from .cluster import Cluster, CommandFailed

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool({"helm", *NEEDED} & set(missing())) and not os.environ.get("CI"),
        reason="helm or the API server is not built here (python -m tests.go_programs, with Go)",
    ),
]

NAMESPACE = "bare"
(GPU_NODE,) = [example for example in EXAMPLES if example.stem == "gpu-node"]


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of a cluster that nothing was installed in."""
    with running_api_server(tmp_path_factory.mktemp("bare"), bare=True) as answering:
        answering.kubectl("create", "namespace", NAMESPACE)
        yield answering


def test_without_keda_nothing_is_installed_that_sleeps(api_server: Cluster) -> None:
    with pytest.raises(CommandFailed) as failed:
        api_server.helm("install", NAMESPACE, str(CHART), "--namespace", NAMESPACE, "--values", str(GPU_NODE))
    assert "scaling.kind is keda and this cluster has no KEDA: install it (https://keda.sh" in str(failed.value)
    assert api_server.kubectl("--namespace", NAMESPACE, "get", "deployments", "--output", "name") == ""


def test_the_doctor_finds_that_keda_was_taken_away_and_that_no_node_has_a_gpu(
    api_server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", api_server.environment["PATH"])
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    rendered = objects(render(GPU_NODE, namespace=NAMESPACE))
    without_keda = [each for each in rendered if not each["apiVersion"].startswith("keda.sh/")]
    assert len(without_keda) < len(rendered)
    manifest = yaml.safe_dump_all(without_keda)
    api_server.kubectl("--namespace", NAMESPACE, "apply", "--server-side", "-f", "-", manifest=manifest)
    found = [each.fact for each in examine_cluster(NAMESPACE, kubectl(NAMESPACE)) if each.level is Level.FAIL]
    assert "No node offers nvidia.com/gpu." in found
    (keda,) = [fact for fact in found if fact.startswith("Who sleeps is woken by KEDA, and it is not here: ")]
    assert "scaledobjects" in keda
