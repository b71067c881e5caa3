"""A cluster, settings that are at home in it, and gateways before its pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from bowerbird.gateway.app import create_app
from bowerbird.settings import Settings

from ..conftest import draw, opened, settings_for
from ..stand_ins import served
from .cluster import Cluster, running_cluster
from .pods import SERVICES, Pods


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


@pytest.fixture
def pods(cluster: Cluster) -> Iterator[Pods]:
    with ExitStack() as stack:
        yield Pods(cluster, stack)


@pytest.fixture
def apps() -> list[Starlette]:
    """What `start` has made."""
    return []


@pytest.fixture
def start(pods: Pods, apps: list[Starlette], tmp_path: Path) -> Iterator[Callable[..., httpx2.Client]]:
    """Starts a gateway in the cluster, whose Services have names that nothing resolves."""
    with ExitStack() as stack:

        def started(**changes: Any) -> httpx2.Client:
            urls = {f"{service.replace('-', '_')}_url": f"http://{service}.invalid:3000" for service in SERVICES}
            settings = settings_for("http://unused", tmp_path / "home", **urls, **inside(pods.cluster), **changes)
            apps.append(create_app(settings))
            return stack.enter_context(opened(stack.enter_context(served(apps[-1]))))

        yield started


@pytest.fixture
def behind() -> Iterator[Callable[..., Future[httpx2.Response]]]:
    with ThreadPoolExecutor(8) as threads:
        yield lambda *arguments, **fields: threads.submit(draw, *arguments, **fields)
