"""Several gateways, one order: real processes on a real PostgreSQL, one of which is killed, stopped or told to end.

The stages are stand-ins on a real socket, so that a test can say how long a drawing takes and see who is drawn when;
the last test has the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import DrawRequest
from bowerbird.engine.serving.fence import Fence
from bowerbird.errors import GrantStale, StageFull

from ..embedded_stack import RunningStack
from ..gateways import RunningGateway, RunningGateways, running_gateways
from ..postgresql import RunningPostgreSQL, running_postgresql
from ..unit.gateway.stand_ins import MODEL, Seen, StandIns, _response, frame, served

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
SLOTS = 2
PART = 16
"""Requests of one tenant that may wait."""
OWNERLESS_SECONDS = 10.0
"""From an owner's death until its successor grants something, at most."""
CROWD, QUIET = "key-of-the-crowd", "key-of-the-quiet"
"""API keys of two tenants."""

Answers = dict[int, Future[httpx2.Response]]
"""Seed -> the answer to come."""


class Stages(StandIns):
    """Stages whose text-to-image has slots and a fence, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.fence = Fence()
        self.drawing = 0
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.behaviour.described = MODEL.model_copy(update={"slots": SLOTS})
        self.behaviour.seconds_per_step = 0.05
        self.held = False
        """Whoever is drawn stays at the first step."""
        self.most = self.full = self.stale = 0
        self.finished: list[int] = []
        """Seeds, in the order in which they were drawn to their end."""

    async def _draw(self, request: Request, seen: Seen) -> Response:
        try:
            self.fence.pass_through(request.headers)
        except GrantStale as error:
            self.stale += 1
            return _response(error)
        if self.drawing >= SLOTS:
            self.full += 1
            return _response(StageFull("full", retry_after_seconds=1))
        return await super()._draw(request, seen)

    async def _drawing(self, asked: DrawRequest) -> AsyncIterator[bytes]:
        self.drawing += 1
        self.most = max(self.most, self.drawing)
        try:
            while self.held:  # noqa: ASYNC110 - another thread says so
                await asyncio.sleep(0.01)
            async for part in super()._drawing(asked):
                yield part
            self.finished.append(asked.seed)
        finally:
            self.drawing -= 1


@pytest.fixture(scope="module")
def _stages() -> Stages:
    return Stages()


@pytest.fixture(scope="module")
def _gateways(
    _stages: Stages, postgresql: RunningPostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateways]:
    folder, name = tmp_path_factory.mktemp("gateways"), f"t{secrets.token_hex(6)}"
    with gateways_before(_stages, postgresql.create(name), folder) as running:
        yield running
    postgresql.drop(name)


@pytest.fixture
def stages(_stages: Stages) -> Stages:
    """The stand-ins; nothing was drawn yet."""
    _stages.reset()
    return _stages


@pytest.fixture
def gateways(_gateways: RunningGateways, stages: Stages) -> RunningGateways:
    """Two gateways before the stand-ins, one of them the owner."""
    _gateways.make_whole()
    return _gateways


@contextmanager
def gateways_before(stages: Stages, database: str | None, folder: Path, count: int = 2) -> Iterator[RunningGateways]:
    """So many on a PostgreSQL, or one with a SQLite of its own."""
    names = ("safety", "text-to-image", "animation", "curation")
    with served(stages.app()) as url:
        environment = {f"BOWERBIRD_{name.upper().replace('-', '_')}_URL": f"{url}/{name}" for name in names} | {
            **({} if database is None else {"BOWERBIRD_DATABASE_URL": database}),
            "BOWERBIRD_RESULT_BYTES": "0",
            "BOWERBIRD_DRAIN_SECONDS": "60",
            "BOWERBIRD_API_KEYS": json.dumps([CROWD, QUIET]),
            "BOWERBIRD_QUEUE_REQUESTS": str(4 * PART),
            "BOWERBIRD_QUEUE_TENANT_PART": "0.25",
        }
        with running_gateways(folder, count, **environment) as running:
            yield running


class Crowd:
    """Many clients at once, whose seeds are all different."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._seed = 0

    def send(self, gateway: RunningGateway, count: int, steps: int = 4, key: str = CROWD) -> Answers:
        """The answers to come."""
        answers: Answers = {}
        for _ in range(count):
            self._seed += 1
            body = {"prompt": PROMPT, "seed": self._seed, "steps": steps}
            answers[self._seed] = self._threads.submit(
                gateway.client.post, "/v1/images/generations", json=body, headers=authorized(key)
            )
        return answers


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ThreadPoolExecutor(64) as threads:
        yield Crowd(threads)


def assert_drawn(answers: Answers) -> None:
    """Everybody has the picture of the own seed."""
    for seed, answer in answers.items():
        assert answer.result().status_code == 200, answer.result().text
        picture = base64.b64decode(answer.result().json()["data"][0]["b64_json"])
        assert picture == frame(seed, 3_200)


def authorized(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


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
        assert told_place(gateways, path) == PART - SLOTS + 1
        stages.held = False
        assert_drawn(waiting)
        wait_until_drawn(each, path)


def wait_until_drawn(gateway: RunningGateway, path: str) -> None:
    """Until the job is finished: the next test counts what is drawn."""
    while (state := gateway.client.get(path, headers=authorized(CROWD)).json()["status"]) != "succeeded":
        assert state in ("queued", "running"), state
        time.sleep(0.05)


def told_place(gateways: RunningGateways, path: str) -> int:
    """The place that a job is told by the replica that carries it, whichever does."""
    while True:
        for each in gateways.members:
            position = each.client.get(path, headers=authorized(CROWD)).json()["position"]
            if position is not None:
                return int(position)
        time.sleep(0.05)


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


def test_who_waits_for_a_job_that_a_lone_gateway_carries_no_further_is_told_so(
    stages: Stages, tmp_path: Path, crowd: Crowd
) -> None:
    with gateways_before(stages, None, tmp_path, count=1) as gateways, ThreadPoolExecutor(3) as threads:
        [gateway] = gateways.members
        stages.held = True
        drawing = crowd.send(gateway, SLOTS)
        gateway.until("bowerbird_slots_held", SLOTS)

        def asks(seed: int, headers: dict[str, str]) -> httpx2.Response:
            body = {"prompt": PROMPT, "seed": seed, "steps": 4}
            return gateway.client.post("/v1/images/generations", json=body, headers=headers | authorized(CROWD))

        keyed = threads.submit(asks, 101, {"Idempotency-Key": "one"})
        patient = threads.submit(asks, 102, {"Prefer": "respond-async, wait=600"})
        gateway.until("bowerbird_waiting_requests", 2)
        job = gateway.client.get("/v1/jobs", headers=authorized(CROWD)).json()["data"][0]["id"]
        heard = threads.submit(gateway.client.get, f"/v1/jobs/{job}/events", headers=authorized(CROWD))
        gateway.signal(signal.SIGTERM)
        assert (keyed.result().status_code, keyed.result().json()["error"]["code"]) == (503, "gateway_stopping")
        assert patient.result().status_code == 202
        assert "job.succeeded" not in heard.result().text
        stages.held = False
        assert_drawn(drawing)
        assert gateway.process.wait(120) == 0


def test_who_waits_for_an_order_that_nobody_will_keep_is_sent_elsewhere(
    stages: Stages, postgresql: RunningPostgreSQL, tmp_path: Path, crowd: Crowd
) -> None:
    name = f"t{secrets.token_hex(6)}"
    with gateways_before(stages, postgresql.create(name), tmp_path, count=1) as gateways:
        [gateway] = gateways.members
        stages.held = True
        drawing = crowd.send(gateway, SLOTS)
        gateway.until("bowerbird_slots_held", SLOTS)
        waiting = crowd.send(gateway, 4)
        gateway.until("bowerbird_waiting_requests", 4)
        gateway.signal(signal.SIGTERM)
        for answer in waiting.values():
            assert (answer.result().status_code, answer.result().json()["error"]["code"]) == (503, "gateway_stopping")
            assert int(answer.result().headers["retry-after"]) >= 1
        stages.held = False
        assert_drawn(drawing)
        assert gateway.process.wait(120) == 0
    postgresql.drop(name)


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
