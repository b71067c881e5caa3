"""Two gateways on one PostgreSQL: what both are asked for at once is drawn once, and what one drew the other gives."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.postgresql import RunningPostgreSQL

from ..conftest import GatewayIn, draw, pictures
from ..stand_ins import StandIns

MEGABYTE = 1_000_000


@pytest.fixture
def gateways(
    gateway_in: GatewayIn, postgresql: RunningPostgreSQL, newest_template: str, tmp_path: Path
) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    name = f"t{secrets.token_hex(6)}"
    shared = {
        "database_url": postgresql.create(name, newest_template),
        "pictures_url": f"file://{tmp_path}/pictures",
        "result_bytes": MEGABYTE,
    }
    with gateway_in(tmp_path / "one", **shared) as one, gateway_in(tmp_path / "two", **shared) as two:
        yield one, two
    postgresql.drop(name)


def until_counted(gateway: httpx2.Client, pixels: int) -> None:
    """Waits until so many pixels are written down, and sees that they never were more: nobody waits for the writing."""
    for _ in range(3000):
        counted = sum(day["pixels"] for day in gateway.get("/v1/usage").json()["data"])
        assert counted <= pixels
        if counted == pixels:
            return
        time.sleep(0.02)
    raise AssertionError("the drawing was not counted")


def test_one_seed_asked_of_both_at_once_is_drawn_once(
    gateways: tuple[httpx2.Client, httpx2.Client], stages: StandIns
) -> None:
    stages.behaviour.seconds_per_step = 0.03
    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda gateway: draw(gateway, seed=7, steps=20), gateways * 3))

    assert {answer.status_code for answer in answers} == {200}
    assert len(stages.asked("/draw")) == 1
    assert len({tuple(pictures(answer)) for answer in answers}) == 1
    statuses = [answer.headers["cache-status"] for answer in answers]
    assert statuses.count("bowerbird; fwd=miss") == 1
    for gateway in gateways:
        until_counted(gateway, 32 * 32)
    assert draw(gateways[1], seed=7, steps=20).headers["cache-status"] == "bowerbird; hit"
