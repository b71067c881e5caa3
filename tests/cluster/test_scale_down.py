"""From three pods to one while the youngest draws: it stays, since Kubernetes knows that it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from .cluster import Cluster
from .release import Release
from .scale_downs import shrinking, with_cost, without_cost

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    with shrinking(cluster) as made:
        yield made


def test_without_the_annotation_it_goes_and_finishes_all_the_same(release: Release) -> None:
    control = asyncio.run(without_cost(release))
    assert not control.stayed
    assert control.status == httpx2.codes.OK


def test_the_busy_pod_stays_although_it_is_the_youngest(release: Release) -> None:
    busy = asyncio.run(with_cost(release))
    assert busy.stayed
    assert busy.status == httpx2.codes.OK
