"""A real stack for tests: `bowerbird up --json` in a process of its own, on free ports, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from bowerbird.embedded.processes import marked, marks

READY_SECONDS = 150.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.1


class RunningStack:
    """A stack that said it is ready."""

    def __init__(self, process: subprocess.Popen[str], facts: dict[str, Any], said: list[str]) -> None:
        self.process = process
        self.facts = facts
        """The line that `up --json` printed."""
        self.said = said
        """The lines for people so far: who died, and the tail of its log."""

    @property
    def url(self) -> str:
        """The gateway's address, without a slash at the end."""
        return str(self.facts["url"])

    @property
    def home(self) -> Path:
        """Its BOWERBIRD_HOME."""
        return Path(self.facts["home"])

    @property
    def loras(self) -> Path:
        """The folder of its LoRAs, where it was given one."""
        return self.home / "loras"

    @property
    def policy(self) -> Path:
        """What safety decides by, where it was given a file of its own: read when safety starts."""
        return self.home / "policy.yaml"

    def stage_url(self, name: str) -> str:
        """The address of `safety`, `text-to-image`, `animation` or `curation`."""
        return str(self.facts["services"][name]["url"])

    def log(self, name: str) -> str:
        """What a service has written."""
        return (self.home / "logs" / f"{name}.log").read_text(encoding="utf-8")

    def processes(self, name: str | None = None) -> list[psutil.Process]:
        """The living processes of a service, or of all; a stage is a master and a worker."""
        return marked(marks(self.facts["stack_id"], name))

    def kill(self, name: str) -> None:
        """SIGKILL to every process of a service; the supervisor will start it again."""
        for process in self.processes(name):
            process.kill()

    def stage_states(self) -> dict[str, str]:
        """What the gateway's /readyz says of each stage."""
        answer = httpx2.get(f"{self.url}/readyz", timeout=10.0, trust_env=False)
        return {stage["name"]: stage["state"] for stage in answer.json()["stages"]}

    def wait_until_away(self, name: str) -> None:
        """Waits until the gateway, which looks once a second, has seen that a stage is gone."""
        ends_at = time.monotonic() + READY_SECONDS
        while self.stage_states()[name] == "ready":
            assert time.monotonic() < ends_at, f"the gateway did not see {name} go down"
            time.sleep(POLL_SECONDS / 2)

    def slots_held(self) -> int:
        """How many requests are drawn now."""
        lines = httpx2.get(f"{self.url}/metrics", timeout=10.0, trust_env=False).text.splitlines()
        return int(float(next(line for line in lines if line.startswith("bowerbird_slots_held ")).split()[1]))

    def wait_until_drawing(self) -> None:
        """Waits until somebody has a slot."""
        ends_at = time.monotonic() + READY_SECONDS
        while not self.slots_held():
            assert time.monotonic() < ends_at, "nothing is drawn"
            time.sleep(POLL_SECONDS / 5)

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Waits until the gateway has seen every stage ready (again)."""
        ends_at = time.monotonic() + seconds
        while any(state != "ready" for state in self.stage_states().values()):
            assert time.monotonic() < ends_at, self.stage_states()
            time.sleep(POLL_SECONDS)


def start_up(home: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """`bowerbird up` with pipes for its output, in `home`, on a free port unless `environment` says otherwise."""
    settings = {"BOWERBIRD_HOME": str(home), "BOWERBIRD_PORT": "0", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "bowerbird.cli", "up", *options],
        cwd=home,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running_stack(home: Path, *options: str, **environment: str) -> Iterator[RunningStack]:
    """A stack that is ready; stopped by SIGTERM at the end, and no process of it may be left then."""
    process = start_up(home, "--json", *options, **environment)
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    listening = threading.Thread(target=said.extend, args=(process.stderr,))
    listening.start()
    try:
        line = process.stdout.readline()
        assert line, f"the stack did not start:\n{''.join(said)}"
        stack = RunningStack(process, json.loads(line), said)
        yield stack
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        listening.join()
        process.stdout.close()
        process.stderr.close()
    assert stack.processes() == []
