"""Facts about `bowerbird up`, with the real services."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bowerbird.embedded.processes import STACK_MARK, marked
from bowerbird.embedded.stack import STAGES

from ..embedded_stack import RunningStack, start_up

pytestmark = pytest.mark.timeout(300)

NAMED = re.compile(r"animation died \((killed by SIGKILL|its worker, process \d+, ended)\); starting again")
"""Its master and its worker are killed; either may be missed first."""


def becomes(fact: Callable[[], bool], seconds: float = 60.0) -> None:
    ends_at = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < ends_at, "it did not come true"
        time.sleep(0.1)


def processes_in(home: Path) -> list[int]:
    """Every process that carries a stack's mark and works in this home."""
    found = []
    for process in marked({}):
        with suppress(psutil.Error):
            environment = process.environ()
            if STACK_MARK in environment and environment.get("BOWERBIRD_HOME") == str(home):
                found.append(process.pid)
    return found


def test_the_first_picture_is_drawn_and_told_about(stack: RunningStack) -> None:
    picture = stack.facts["first_picture"]
    assert picture["path"] == "out/first.png"
    assert (stack.home / picture["path"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture["trace_id"]) == 32
    assert {"check_prompt", "draw", "judge", "publish"} <= picture["seconds_by_stage"].keys()
    assert set(stack.facts["services"]) == {"gateway", *STAGES}


def test_every_log_is_json_lines(stack: RunningStack) -> None:
    for name in ("gateway", *STAGES):
        for line in stack.log(name).splitlines():
            assert json.loads(line)["message"]


def test_a_killed_stage_is_named_and_started_again(stack: RunningStack) -> None:
    before = {process.pid for process in stack.processes("animation")}
    stack.kill("animation")
    becomes(lambda: any(NAMED.match(line) for line in stack.said))
    becomes(lambda: len(stack.processes("animation")) == 2)
    stack.wait_until_ready()
    assert before.isdisjoint(process.pid for process in stack.processes("animation"))


def test_a_second_up_in_the_same_home_is_refused(stack: RunningStack) -> None:
    second = start_up(stack.home)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"Process {stack.process.pid} already runs `bowerbird up`" in " ".join(output.split())


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        up = start_up(tmp_path, BOWERBIRD_PORT=str(port))
        output, _ = up.communicate(timeout=120)
    assert up.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken by process {os.getpid()}" in " ".join(output.split())
    assert processes_in(tmp_path) == []


def test_a_stop_while_services_load_leaves_no_process(tmp_path: Path) -> None:
    up = start_up(tmp_path)
    becomes(lambda: len(processes_in(tmp_path)) >= 1 + len(STAGES))
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=120)
    assert up.returncode == 0
    assert processes_in(tmp_path) == []


def test_a_killed_up_leaves_no_process(tmp_path: Path) -> None:
    up = start_up(tmp_path)
    becomes(lambda: len(processes_in(tmp_path)) >= 1 + len(STAGES))
    up.kill()
    up.communicate(timeout=120)
    becomes(lambda: processes_in(tmp_path) == [])
