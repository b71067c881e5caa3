"""Five cycles from no pod and back with a fault each; a hundred are `python -m tests.cluster cycles`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..postgresql import RunningPostgreSQL
from .cluster import Cluster
from .cycle_plan import Cycle, plan
from .cycles import run, site
from .release import Release

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(3600)]

SEED = 7
CYCLES = 5


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[tuple[Release, RunningPostgreSQL]]:
    """Two gateways whose models sleep, and their database."""
    with site(cluster) as made:
        yield made


@pytest.mark.parametrize("cycle", plan(SEED, CYCLES), ids=lambda each: f"{each.number}-{each.way}-{each.victim}")
def test_nothing_is_lost_or_doubled_and_everybody_is_answered(
    release: tuple[Release, RunningPostgreSQL], cycle: Cycle
) -> None:
    row = run(cycle, *release)
    assert row.in_flight
    assert (row.failed, row.lost, row.doubled) == ([], [], 0)
    assert row.holds, row
