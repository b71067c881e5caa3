"""Five cycles from no pod and back with a fault each, and a wake while KEDA hangs.

A hundred cycles are `python -m tests.cluster cycles`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import httpx2
import pytest

from ..postgresql import RunningPostgreSQL
from .cluster import Cluster
from .cycle_plan import Cycle, Victim, plan
from .cycles import WAIT_BOUND_SECONDS, addresses, asleep, pids, run, send, site
from .release import MODELS, Release, paint

pytestmark = [pytest.mark.own_cluster, pytest.mark.alone, pytest.mark.timeout(3600)]

FIRST_PODS = r"^bowerbird_first_pods_total{[^}]*} (.+)$"
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
    assert row.slowest_seconds <= WAIT_BOUND_SECONDS


def test_while_keda_hangs_the_gateway_makes_the_first_pods(release: tuple[Release, RunningPostgreSQL]) -> None:
    site, _ = release
    asleep(site)
    before = first_pods(site)
    operator = pids(next(each for each in plan(SEED, 2 * len(Victim)) if each.victim is Victim.KEDA), site)
    send(operator, signal.SIGSTOP)
    try:
        with site.reached_by_node() as client:
            assert paint(client)
        made = first_pods(site) - before
    finally:
        send(operator, signal.SIGCONT)
    assert made == len(MODELS)
    asleep(site)


def first_pods(release: Release) -> float:
    """How many Deployments the release's gateways have woken themselves."""
    told = [httpx2.get(f"{gateway}/metrics", timeout=10, trust_env=False).text for gateway in addresses(release)]
    return sum(float(count) for each in told for count in re.findall(FIRST_PODS, each, re.MULTILINE))
