"""Facts about starting, watching, restarting and stopping real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import psutil
import pytest

from bowerbird.embedded.child import State
from bowerbird.embedded.facts import ServiceGaveUp
from bowerbird.embedded.processes import marked, marks
from bowerbird.embedded.supervisor import FIRST_START_PAUSES_SECONDS, RESTART_PAUSES_SECONDS

from .conftest import TINY_SERVICE, Running

Run = Callable[..., AbstractAsyncContextManager[Running]]


async def becomes(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - a fact about other processes
            await asyncio.sleep(0.02)


async def test_every_service_becomes_ready_and_an_orderly_stop_leaves_none(running: Run) -> None:
    async with running("a", "b") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        assert [child.state for child in stack.supervisor.children] == [State.READY] * 3
        assert all(child.resident_bytes() > 0 for child in stack.supervisor.children)
        stack.supervisor.stop()
        await stack.task
        assert [child.state for child in stack.supervisor.children] == [State.STOPPED] * 3


async def test_a_killed_service_is_named_and_started_again(running: Run) -> None:
    async with running("a") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        victim = stack.supervisor.children[1]
        first_pid = victim.pid
        assert first_pid is not None
        os.kill(first_pid, signal.SIGKILL)
        await becomes(lambda: victim.pid != first_pid and victim.state is State.READY)
        [death] = stack.mourner.deaths
        assert (death.child.name, death.how) == ("a", "killed by SIGKILL")
        assert death.pause_seconds == RESTART_PAUSES_SECONDS[0]


async def test_a_dead_worker_is_the_death_of_its_service_and_of_its_master(running: Run) -> None:
    async with running("family") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        family = stack.supervisor.children[1]
        master = family.pid
        assert master is not None
        await becomes(lambda: bool(family.workers))
        [worker] = psutil.Process(master).children()
        worker.kill()
        await becomes(lambda: bool(stack.mourner.deaths))
        assert stack.mourner.deaths[0].how == f"its worker, process {worker.pid}, ended"
        assert not psutil.pid_exists(master)


async def test_a_service_that_cannot_start_ends_the_stack_with_its_last_words(running: Run) -> None:
    async with running("die") as stack:
        with pytest.raises(ServiceGaveUp, match="die died 2 times in a row"):
            await asyncio.wait_for(stack.task, 60)
        assert [death.pause_seconds for death in stack.mourner.deaths] == [*FIRST_START_PAUSES_SECONDS, None]
        last = stack.mourner.deaths[-1]
        assert last.how == "exit code 1"
        assert last.child.log.tail == ["no bundle to be found"]
        assert not stack.ready.is_set()


async def test_a_service_that_keeps_dying_after_it_was_ready_ends_the_stack(running: Run) -> None:
    async with running("a") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        victim = stack.supervisor.children[1]
        while not stack.task.done():
            if victim.state is State.READY and victim.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
        with pytest.raises(ServiceGaveUp, match="a died 4 times in a row"):
            await stack.task
        assert [death.pause_seconds for death in stack.mourner.deaths] == [*RESTART_PAUSES_SECONDS, None]


async def test_a_stop_during_the_start_leaves_none(running: Run) -> None:
    async with running("stubborn", "family") as stack:
        await becomes(lambda: stack.supervisor.children[0].pid is not None)
        stack.supervisor.stop()
        await asyncio.wait_for(stack.task, 60)


async def test_a_second_stop_kills_what_ignores_the_first(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.embedded.supervisor.STAGE_STOP_SECONDS", 600.0)
    async with running("stubborn") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        stack.supervisor.stop()
        gateway, stubborn = stack.supervisor.children
        await becomes(lambda: gateway.state is State.STOPPED and stubborn.state is State.STOPPING)
        stack.supervisor.stop()
        await asyncio.wait_for(stack.task, 60)


async def test_no_stage_is_asked_to_end_before_the_gateway_has_ended(running: Run, tmp_path: Path) -> None:
    async with running("a", "b") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        stack.supervisor.stop()
        await stack.task
    gateway_ended = said_at(tmp_path, "gateway", "ended at")
    assert gateway_ended <= min(said_at(tmp_path, stage, "asked at") for stage in "ab")


def said_at(home: Path, service: str, words: str) -> float:
    """When a tiny service said so, by the clock that all processes share."""
    messages = [json.loads(line)["message"] for line in (home / "logs" / f"{service}.log").read_text().splitlines()]
    [said] = [each for each in messages if each.startswith(words)]
    return float(said.removeprefix(words))


async def test_everything_a_service_prints_is_in_its_log_as_json(running: Run, tmp_path: Path) -> None:
    async with running("a") as stack:
        await asyncio.wait_for(stack.ready.wait(), 60)
        stack.supervisor.stop()
        await stack.task
    [first, *_] = (tmp_path / "logs" / "a.log").read_text().splitlines()
    assert json.loads(first)["message"] == "listening"
    assert json.loads(first)["service"] == "a"


def test_the_guard_ends_a_stack_whose_supervisor_was_killed() -> None:
    mark = marks("0" * 32)
    family = [sys.executable, str(TINY_SERVICE), "0", "family"]
    orphan = subprocess.Popen(family, env=os.environ | mark, start_new_session=True, stdout=subprocess.PIPE)
    assert orphan.stdout is not None
    orphan.stdout.readline()
    guard = subprocess.Popen([sys.executable, "-m", "bowerbird.embedded.guard", "0" * 32], stdin=subprocess.PIPE)
    assert len(marked(mark)) == 2
    guard.communicate(timeout=60)
    assert marked(mark) == []
    orphan.communicate()
