"""Facts about a whole `up`, in this process, with tiny services."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bowerbird.embedded.display import JsonLine
from bowerbird.embedded.facts import SelfCheckFailed, ServiceGaveUp
from bowerbird.embedded.processes import STACK_MARK, marked
from bowerbird.embedded.self_check import SEED, draw_first_picture
from bowerbird.embedded.stack import Stack
from bowerbird.embedded.up import run
from bowerbird.errors import StageUnavailable
from bowerbird.settings import Settings

from ..client.conftest import TRACE_ID, Gateway, gateway  # noqa: F401 - the fixture
from .conftest import tiny_stack


class Told:
    """A display for programs, and what it has said so far."""

    def __init__(self) -> None:
        self.people, self.program = io.StringIO(), io.StringIO()
        self.display = JsonLine(Console(file=self.people), Console(file=self.program))

    @property
    def summary(self) -> str:
        return self.program.getvalue()


def of(home: Path, *stages: str) -> Callable[[Settings], Stack]:
    return lambda _: tiny_stack(home, *stages)


async def until_ready(told: Told, task: asyncio.Task[None]) -> str:
    async with asyncio.timeout(60):
        while not told.summary and not task.done():  # noqa: ASYNC110 - a fact about what was printed
            await asyncio.sleep(0.05)
    stack_id: str = json.loads(told.summary)["stack_id"]
    return stack_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    told = Told()
    settings = Settings(home=tmp_path)
    task = asyncio.create_task(run(settings, told.display, self_check=False, plan=of(tmp_path, "a", "b")))
    stack_id = await until_ready(told, task)
    assert len(marked({STACK_MARK: stack_id})) == 3
    os.kill(os.getpid(), number)
    await task
    assert marked({STACK_MARK: stack_id}) == []
    assert "stopping" in told.people.getvalue()


async def test_a_home_is_free_again_after_a_stack_gave_up(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ServiceGaveUp):
            await run(Settings(home=tmp_path), Told().display, self_check=False, plan=of(tmp_path, "die"))


async def test_a_stack_that_cannot_draw_is_not_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.client.retrying.FIRST_REST_SECONDS", 0.01)
    told = Told()
    with pytest.raises(SelfCheckFailed, match="Every service is ready, but the first picture failed"):
        await run(Settings(home=tmp_path), told.display, self_check=True, plan=of(tmp_path))
    assert told.summary == ""


async def test_the_first_picture_is_drawn_as_any_client_would(gateway: Gateway, tmp_path: Path) -> None:  # noqa: F811
    picture = await draw_first_picture(gateway.url, None, tmp_path / "out" / "first.png")
    assert picture.path.read_bytes() == b"picture 0"
    assert picture.trace_id == TRACE_ID
    assert gateway.asked[0]["seed"] == SEED
    assert gateway.asked[0]["cache"] == "fresh"


async def test_why_the_first_picture_failed_is_told(gateway: Gateway, tmp_path: Path) -> None:  # noqa: F811
    gateway.error = StageUnavailable("curation is not ready.", retry_after_seconds=0)
    with pytest.raises(SelfCheckFailed, match=r"curation is not ready\."):
        await draw_first_picture(gateway.url, None, tmp_path / "first.png")
