"""The rows of `benchmarks.gateway` that need no peers, small: that they work, never how fast."""

from __future__ import annotations

import pytest

from benchmarks.gateway.__main__ import ROWS, SMALL
from benchmarks.gateway.client import client_of, request
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.peers import CONTENDERS
from benchmarks.gateway.processes import light_stages
from benchmarks.gateway.scale import Scale
from benchmarks.rows import measured
from bowerbird.gateway.api.operations import OPERATIONS

LINES = {"cost": 6, "latency": 8, "routes": len(OPERATIONS), "streams": 1, "memory": 1, "fairness": 10, "eta": 1}


@pytest.mark.parametrize(("name", "lines"), LINES.items())
def test_a_small_row_gives_its_lines(name: str, lines: int) -> None:
    rows = list(measured(ROWS, name, Scale.smallest()))
    assert len(rows) == lines
    for row in rows:
        assert row.id == name
        assert row.figure is not None, row.note
        assert row.holds is None, "a small run proves nothing about a goal"


def test_what_needs_a_peer_is_not_among_the_small_rows() -> None:
    assert set(SMALL) == set(ROWS) - {"peers"}


@pytest.mark.parametrize("name", ["bentoml", "litserve"])
def test_every_peer_is_pinned(name: str) -> None:
    assert all("==" in line for line in (CONTENDERS / f"{name}.txt").read_text().splitlines())


async def test_a_light_stage_refuses_what_is_beyond_its_slots() -> None:
    with light_stages(Spec(slots=1, step_seconds=10.0)) as stages:
        async with client_of(stages.url) as client:
            draw = request("POST", "/text-to-image/draw", {"steps": 20, "seed": 1})
            busy = await client.connect()
            first = busy.send(draw)
            while b"progress" not in busy.received:
                await client.ask(request("GET", "/text-to-image/readyz"))
            assert (await client.ask(draw)).status == 429
            busy.close()
            with pytest.raises(ConnectionError):
                await first
