"""The chart's examples before the real API server, which knows every field that there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .chart import EXAMPLES, objects, render
from .cluster import Cluster

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_accepts_what_an_example_renders(cluster: Cluster, example: Path) -> None:
    accepted = [each for each in objects(render(example)) if each["kind"] != "ServiceMonitor"]  # the operator's own
    cluster.kubectl("create", "namespace", f"dry-{example.stem}")
    manifests = yaml.safe_dump_all(accepted).replace("namespace: bowerbird", f"namespace: dry-{example.stem}")
    said = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", manifest=manifests)
    assert said.count("serverside-applied") == len(accepted)
