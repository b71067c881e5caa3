"""Several gateways, one order: real processes on a real PostgreSQL, one of which is killed, stopped or told to end.

The stages are stand-ins on a real socket, so that a test can say how long a drawing takes and see who is drawn when;
the last test has the real ones.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...embedded_stack import RunningStack
from ...gateways import RunningGateway, RunningGateways, running_gateways
from ...postgresql import RunningPostgreSQL, running_postgresql
from .crowd import CROWD, PART, PROMPT, QUIET, SLOTS, Crowd, Stages, assert_drawn, authorized, gateways_before

pytestmark = pytest.mark.timeout(300)

OWNERLESS_SECONDS = 10.0
"""From an owner's death until its successor grants something, at most."""


@pytest.fixture(scope="module")
def _gateways(
    _stages: Stages, postgresql: RunningPostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateways]:
    folder, name = tmp_path_factory.mktemp("gateways"), f"t{secrets.token_hex(6)}"
    with gateways_before(_stages, postgresql.create(name), folder) as running:
        yield running
    postgresql.drop(name)


@pytest.fixture
def gateways(_gateways: RunningGateways, stages: Stages) -> RunningGateways:
    """Two gateways before the stand-ins, one of them the owner."""
    _gateways.make_whole()
    return _gateways


# ------------------------------------------------------------------------------------------------------ one order


def test_two_gateways_give_no_more_slots_than_there_are(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    owner, follower = gateways.owner_and_follower()
    assert_drawn(crowd.send(owner, 8) | crowd.send(follower, 8))

    assert (stages.most, stages.full, stages.stale) == (SLOTS, 0, 0)
    assert owner.figure("bowerbird_queue_owner") == owner.figure("bowerbird_queue_followers") == 1
    assert follower.figure("bowerbird_queue_owner") == 0
    for each in (owner, follower):
        assert each.figure("bowerbird_waiting_requests") == each.figure("bowerbird_slots_held") == 0


def test_a_tenant_that_floods_one_gateway_does_not_starve_another_at_the_other(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    """Both ways: the quiet tenant asks the owner, and the follower."""
    for flooded, other in (gateways.members, gateways.members[::-1]):
        stages.held = True
        flood = crowd.send(flooded, PART)
        flooded.until("bowerbird_waiting_requests", PART - SLOTS)
        quiet = crowd.send(other, 1, key=QUIET)
        other.until("bowerbird_waiting_requests", 1)
        stages.finished.clear()
        stages.held = False
        assert_drawn(flood | quiet)
        [seed] = quiet
        assert stages.finished.index(seed) <= SLOTS + 2, "others were before it, and not only who drew"


def test_the_bound_of_the_queue_holds_over_both_gateways(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    for full, other in (gateways.members, gateways.members[::-1]):
        stages.held = True
        waiting = crowd.send(full, SLOTS + PART)
        full.until("bowerbird_waiting_requests", PART)
        [refused] = [each.result() for each in crowd.send(other, 1).values()]
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "tenant_queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert '"requests";r=0' in refused.headers["ratelimit"]
        stages.held = False
        assert_drawn(waiting)


def test_a_job_that_waits_is_told_its_place_among_all_that_wait_anywhere(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    owner, follower = gateways.owner_and_follower()
    for each, other in ((owner, follower), (follower, owner)):
        stages.held = True
        waiting = crowd.send(other, PART)
        other.until("bowerbird_waiting_requests", PART - SLOTS)
        headers = authorized(CROWD) | {"prefer": "respond-async"}
        answer = each.client.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 1}, headers=headers)
        path = answer.headers["location"]
        assert answer.json()["position"] == PART - SLOTS + 1
        for asked in (owner, follower):
            assert told(asked, path, "admit") == ("admit", PART - SLOTS + 1)
        stages.held = False
        assert_drawn(waiting)
        wait_until_drawn(each, path)


def test_a_job_that_is_drawn_is_told_so_by_the_gateway_that_does_not_carry_it(
    gateways: RunningGateways, stages: Stages
) -> None:
    stages.held = True
    owner, follower = gateways.owner_and_follower()
    for each in (owner, follower):
        headers = authorized(CROWD) | {"prefer": "respond-async"}
        answer = each.client.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 1}, headers=headers)
        path = answer.headers["location"]
        for asked in (owner, follower):
            phase, position = told(asked, path, "draw", "judge", "check_images")
            assert phase
            assert position is None
        stages.held = False
        wait_until_drawn(each, path)
        stages.held = True


def wait_until_drawn(gateway: RunningGateway, path: str) -> None:
    """Until the job is finished: the next test counts what is drawn."""
    while (state := gateway.client.get(path, headers=authorized(CROWD)).json()["status"]) != "succeeded":
        assert state in ("queued", "running"), state
        time.sleep(0.05)


def told(gateway: RunningGateway, path: str, *phases: str) -> tuple[str | None, int | None]:
    """The phase and the place that a gateway tells of a job as soon as it is in one of these phases."""
    ends_at = time.monotonic() + 60
    while (body := gateway.client.get(path, headers=authorized(CROWD)).json())["phase"] not in phases:
        assert time.monotonic() < ends_at, body
        time.sleep(0.05)
    return body["phase"], body["position"]


# -------------------------------------------------------------------------------------------- death, sleep and end


def test_who_waits_is_drawn_although_the_owner_is_killed(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    owner, follower = gateways.owner_and_follower()
    stages.held = True
    before = follower.figure("bowerbird_queue_takeovers_total")
    waiting = crowd.send(follower, PART)
    follower.until("bowerbird_waiting_requests", PART - SLOTS)
    killed_at = time.monotonic()
    owner.signal(signal.SIGKILL)
    owner.process.wait()
    granted_before = len(stages.asked("/draw"))
    stages.held = False
    while len(stages.asked("/draw")) == granted_before:
        assert time.monotonic() - killed_at < OWNERLESS_SECONDS
        time.sleep(0.02)
    assert_drawn(waiting)

    assert granted_before == SLOTS
    assert follower.role() == "owner"
    assert follower.figure("bowerbird_queue_takeovers_total") == before + 1
    assert sorted(stages.finished) == sorted(waiting)
    assert (stages.most, stages.full) == (SLOTS, 0), "what was drawn at the owner's death is known to its successor"


def test_an_owner_that_was_stopped_grants_nothing_by_its_former_right(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    owner, follower = gateways.owner_and_follower()
    stages.held = True
    at_follower = crowd.send(follower, 8)
    follower.until("bowerbird_waiting_requests", 8 - SLOTS)
    at_owner = crowd.send(owner, 8)
    owner.until("bowerbird_waiting_requests", 8)
    owner.signal(signal.SIGSTOP)
    stages.held = False
    assert_drawn(at_follower)
    assert follower.role() == "owner"

    more = crowd.send(follower, 8)
    owner.signal(signal.SIGCONT)
    assert_drawn(at_owner | more)
    gateways.make_whole()
    assert follower.role() == "owner"
    assert stages.most <= SLOTS
    assert stages.stale == 0, "it looked at its lease before it granted anything"
    assert sorted(set(stages.finished)) == sorted(at_owner | at_follower | more)


def test_an_owner_that_is_told_to_end_hands_over_and_who_waits_there_has_its_turn(
    gateways: RunningGateways, stages: Stages, crowd: Crowd
) -> None:
    owner, follower = gateways.owner_and_follower()
    stages.held = True
    drawing = crowd.send(owner, SLOTS)
    owner.until("bowerbird_slots_held", SLOTS)
    waiting = crowd.send(owner, 4)
    owner.until("bowerbird_waiting_requests", 4)
    elsewhere = crowd.send(follower, 4)
    follower.until("bowerbird_waiting_requests", 4)
    owner.signal(signal.SIGTERM)

    while follower.role() != "owner":
        time.sleep(0.05)
    assert not any(answer.done() for answer in (drawing | waiting | elsewhere).values())
    stages.held = False
    assert_drawn(drawing | waiting | elsewhere)
    owner.process.wait(120)
    assert owner.process.returncode == 0
    assert (stages.most, stages.full) == (SLOTS, 0)


def test_who_waits_is_drawn_although_the_database_was_away(tmp_path: Path, crowd: Crowd) -> None:
    """Nobody may grant for long meanwhile, since nobody could know who owns the order."""
    stages = Stages()
    with running_postgresql() as server, gateways_before(stages, server.create("t"), tmp_path) as gateways:
        stages.held = True
        one, two = gateways.members
        waiting = crowd.send(one, 8)
        one.until("bowerbird_waiting_requests", 8 - SLOTS)
        waiting |= crowd.send(two, 8)
        two.until("bowerbird_waiting_requests", 8)
        server.kill()
        time.sleep(8)  # longer than a lease
        stages.held = False
        server.start()
        assert_drawn(waiting)
        gateways.make_whole()
        assert (stages.most, stages.stale) == (SLOTS, 0)


# --------------------------------------------------------------------------------------------------- the real chain


def test_the_real_chain_draws_what_waits_when_the_owner_is_killed(
    stack: RunningStack, postgresql: RunningPostgreSQL, tmp_path: Path, crowd: Crowd
) -> None:
    stack.wait_until_ready()
    names = ("safety", "text-to-image", "animation", "curation")
    urls = {f"BOWERBIRD_{name.upper().replace('-', '_')}_URL": stack.stage_url(name) for name in names}
    database = postgresql.create(f"t{secrets.token_hex(6)}")
    with running_gateways(tmp_path, 2, BOWERBIRD_DATABASE_URL=database, **urls) as gateways:
        owner, follower = gateways.owner_and_follower()
        waiting = crowd.send(follower, 8, steps=10)
        while not follower.figure("bowerbird_slots_held"):
            time.sleep(0.05)
        owner.signal(signal.SIGKILL)
        for seed, answer in waiting.items():
            assert answer.result().status_code == 200, answer.result().text
            assert answer.result().headers["bowerbird-seeds"] == str(seed)
        assert follower.role() == "owner"
