"""A cluster, and settings that are at home in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bowerbird.settings import Settings

from .cluster import Cluster, running_cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_cluster(folder) as cluster:
        yield cluster


@pytest.fixture
def in_cluster(cluster: Cluster) -> Settings:
    """The settings of a gateway's pod."""
    return Settings(**inside(cluster))  # type: ignore[arg-type]


def inside(cluster: Cluster) -> dict[str, object]:
    """Settings by which a gateway finds this cluster."""
    return {
        "kubernetes_namespace": "birds",
        "kubernetes_url": cluster.url,
        "kubernetes_token": cluster.certificates / "token",
        "kubernetes_ca": cluster.certificates / "ca.crt",
    }
