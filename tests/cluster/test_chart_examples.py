"""The chart's examples and what `manifests/` has before the real API server, which knows every field that there is, of
what KEDA, cert-manager and Prometheus' operator define too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from .api_server import NEEDED, running_api_server
from .binaries import missing
from .certificates import Authority
from .chart import CHART, EXAMPLES, KEYS, objects, render
from .cluster import Cluster, CommandFailed

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool({"helm", *NEEDED} & set(missing())) and not os.environ.get("CI"),
        reason="helm or the API server is not built here (python -m tests.go_programs, with Go)",
    ),
]

SERVICES = 5
TRUSTING = "trusting"
"""Namespace of a release that has a CA."""
MANIFESTS = [
    file
    for file in sorted((CHART.parents[1] / "manifests").glob("*.yaml"))
    if "apiVersion: kueue" not in file.read_text(encoding="utf-8")  # no module of Kueue's is to be had
]


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One that knows every kind that the chart names."""
    with running_api_server(tmp_path_factory.mktemp("api-server")) as answering:
        yield answering


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_accepts_what_an_example_renders(api_server: Cluster, example: Path) -> None:
    rendered = objects(render(example))
    said = tried(api_server, f"dry-{example.stem}", rendered)
    assert said.count("serverside-applied") == len(rendered)


def test_the_api_server_accepts_what_cert_manager_is_asked_for(api_server: Cluster) -> None:
    issued = (*KEYS, "--api-versions", "cert-manager.io/v1", "--set", "tls.issuer.name=house")
    asked = [each for each in objects(render(None, *issued)) if each["kind"] == "Certificate"]
    assert len(asked) == SERVICES
    assert tried(api_server, "dry-issued", asked).count("serverside-applied") == SERVICES


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_the_api_server_accepts_a_manifest(api_server: Cluster, file: Path) -> None:
    manifest = file.read_text(encoding="utf-8").replace("generateName: fledgling-", "name: fledgling-1")
    if "namespace: bowerbird" in manifest:
        said = tried(api_server, f"dry-{file.stem}", objects(manifest))
    else:
        said = api_server.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", manifest=manifest)
    assert said.count("serverside-applied") == len(objects(manifest))


def test_another_ca_makes_another_trigger_and_a_renewed_leaf_does_not(api_server: Cluster, tmp_path: Path) -> None:
    api_server.kubectl("create", "namespace", TRUSTING)
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    before, renewed, moved = (triggers(api_server, authority) for authority in (first, first, second))
    assert set(before) == {"animation", "curation", "safety", "text-to-image"}
    assert renewed == before
    assert [service for service in before if moved[service] == before[service]] == []


def triggers(api_server: Cluster, authority: Authority) -> dict[str, Any]:
    """Service -> whom KEDA asks, by a Helm that sees the cluster; this CA has signed a new leaf in the Secret."""
    certificate, key = authority.issue(authority.certificate_file.with_name("leaf"), "scaler", hosts=[TRUSTING])
    files = {"tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate_file}
    api_server.kubectl("--namespace", TRUSTING, "delete", "secret", "scaler", "--ignore-not-found")
    given = [f"--from-file={name}={file}" for name, file in files.items()]
    api_server.kubectl("--namespace", TRUSTING, "create", "secret", "generic", "scaler", *given)
    values = ["defaults.scaling.kind=keda", "services.gateway.scaling.kind=fixed", "keda.tls.existingSecret=scaler"]
    options = [*KEYS, *(word for each in values for word in ("--set", each)), "--namespace", TRUSTING]
    rendered = objects(api_server.helm("template", "bowerbird", str(CHART), "--dry-run=server", *options))
    scaled = [each for each in rendered if each["kind"] == "ScaledObject"]
    return {each["metadata"]["name"]: each["spec"]["triggers"] for each in scaled}


def test_a_field_that_is_none_is_refused_by_its_path(api_server: Cluster) -> None:
    rendered = objects(render(EXAMPLES[-1]))
    (deployment,) = [each for each in rendered if (each["kind"], each["metadata"]["name"]) == ("Deployment", "safety")]
    deployment["spec"]["template"]["spec"]["terminationGrace"] = 5
    with pytest.raises(CommandFailed, match=r"\.spec\.template\.spec\.terminationGrace"):
        tried(api_server, "dry-refused", [deployment])


def tried(api_server: Cluster, namespace: str, rendered: Sequence[object]) -> str:
    """What the API server says to all of these in a namespace of their own, without keeping any."""
    api_server.kubectl("create", "namespace", namespace)
    manifests = yaml.safe_dump_all(rendered).replace("namespace: bowerbird", f"namespace: {namespace}")
    return api_server.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", manifest=manifests)
