"""Real gateway processes for tests: several of them on one PostgreSQL, before whatever stages they are told of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

START_SECONDS = 60.0
POLL_SECONDS = 0.05


class RunningGateway:
    """A process that listens; `kill`, `stop` and `go_on` are for tests of what its death or sleep does to others."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path) -> None:
        self.process = process
        self.home = home
        self.url = self._address()
        self.client = httpx2.Client(base_url=self.url, timeout=120, trust_env=False)

    def _address(self) -> str:
        ends_at = time.monotonic() + START_SECONDS
        while not (self.home / "gateway.json").exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < ends_at, self.log()
            time.sleep(POLL_SECONDS)
        return str(json.loads((self.home / "gateway.json").read_text())["url"])

    def log(self) -> str:
        """What it has written."""
        return (self.home / "log").read_text()

    def readiness(self) -> dict[str, Any]:
        """What /readyz says."""
        answer: dict[str, Any] = self.client.get("/readyz").json()
        return answer

    def role(self) -> str:
        """owner, follower, seeking or alone."""
        return str(self.readiness()["queue"])

    def figure(self, name: str) -> float:
        """A metric without labels, or of one labelled series."""
        [line] = [each for each in self.client.get("/metrics").text.splitlines() if each.startswith(f"{name} ")]
        return float(line.split()[1])

    def until(self, name: str, value: float) -> None:
        """Waits until the metric has this value."""
        ends_at = time.monotonic() + START_SECONDS
        while (figure := self.figure(name)) != value:
            assert time.monotonic() < ends_at, f"{name} is {figure}"
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kills it, if it is there still, stopped or not."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(START_SECONDS)


class RunningGateways:
    """Several of them on one database."""

    def __init__(self, folder: Path, count: int, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._started = 0
        self.members = [self._start() for _ in range(count)]

    def make_whole(self) -> None:
        """Starts a successor of each that is dead; waits until all have seen every stage ready, and one is owner."""
        for place, member in enumerate(self.members):
            if member.process.poll() is not None:
                member.end()
                self.members[place] = self._start()
        ends_at = time.monotonic() + START_SECONDS
        while not self._is_whole():
            assert time.monotonic() < ends_at, [each.readiness() for each in self.members]
            time.sleep(POLL_SECONDS)

    def owner_and_follower(self) -> tuple[RunningGateway, RunningGateway]:
        """The one that owns the order, and the other one of two."""
        one, two = self.members
        assert sorted([one.role(), two.role()]) == ["follower", "owner"]
        return (one, two) if one.role() == "owner" else (two, one)

    def end(self) -> None:
        """Kills all."""
        for each in self.members:
            each.end()

    def _is_whole(self) -> bool:
        told = [each.readiness() for each in self.members]
        ready = all(stage["state"] == "ready" for readiness in told for stage in readiness["stages"])
        roles = sorted(each["queue"] for each in told)
        return ready and roles in (["alone"], ["follower"] * (len(told) - 1) + ["owner"])

    def _start(self) -> RunningGateway:
        home = self._folder / f"gateway-{self._started}"
        self._started += 1
        home.mkdir()
        own = {"PYTHONPATH": "services", "BOWERBIRD_HOME": str(home), "BOWERBIRD_PORT": "0"}
        command = [sys.executable, "-m", "bowerbird.gateway.main"]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **own, **self._environment}, stderr=log)
        return RunningGateway(process, home)


@contextmanager
def running_gateways(folder: Path, count: int, **environment: str) -> Iterator[RunningGateways]:
    """So many gateways, whole; each has a home of its own."""
    gateways = RunningGateways(folder, count, environment)
    try:
        gateways.make_whole()
        yield gateways
    finally:
        gateways.end()
