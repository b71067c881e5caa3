"""The chart's examples before the real API server, which knows every field that there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from .api_server import NEEDED, running_api_server
from .binaries import missing
from .chart import EXAMPLES, objects, render
from .cluster import Cluster, CommandFailed

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool({"helm", *NEEDED} & set(missing())) and not os.environ.get("CI"),
        reason="helm or the API server is not built here (python -m tests.go_programs, with Go)",
    ),
]


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One that knows KEDA's kinds."""
    with running_api_server(tmp_path_factory.mktemp("api-server")) as answering:
        yield answering


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_accepts_what_an_example_renders(api_server: Cluster, example: Path) -> None:
    accepted = [each for each in objects(render(example)) if each["kind"] != "ServiceMonitor"]  # the operator's own
    said = tried(api_server, f"dry-{example.stem}", accepted)
    assert said.count("serverside-applied") == len(accepted)


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
