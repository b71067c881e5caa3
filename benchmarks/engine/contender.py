"""A contender: a process that gets ready once and then answers questions, one JSON line each way.

The other end is `contenders/protocol.py`. While it is not asked it sleeps: torch's OpenMP threads spin between two
operators, as their defaults have it and a peer should be allowed to, and for milliseconds after the last one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.engine.environments import CONTENDERS, ROOT, PeerMissing

QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
}


def environment_of(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """The process environment of every contender; ours finds the package without being installed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BOWERBIRD_", "OMP_", "KMP_"))}
    return kept | QUIET | {"PYTHONPATH": f"{ROOT / 'services'}{os.pathsep}{ROOT}"} | dict(extra)


class Contender:
    """One running contender; use it as a context manager."""

    def __init__(
        self, name: str, script: str, spec: Mapping[str, Any], python: Path | None = None, **environment: str
    ) -> None:
        """Starts `contenders/<script>`; raises PeerMissing with its last words when it does not get ready."""
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        command = [str(python or sys.executable), str(CONTENDERS / script), json.dumps(spec)]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=environment_of(environment),
        )  # fmt: skip
        try:
            self.facts = self._answer()
        except PeerMissing:
            self.__exit__()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, **question: Any) -> dict[str, Any]:
        """Its answer; raises PeerMissing when it died."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe; for the type checker
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe; for the type checker
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(10)
            self._errors.seek(0)
            words = self._errors.read().strip().splitlines() or [f"exit status {self._process.returncode}"]
            raise PeerMissing(f"{self.name}: {words[-1][:200]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - pipes
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def take_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Each contender's median over `rounds` turns, taken one after the other, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(rounds + 1):
        for name, take in turns.items():
            figure = take()
            if turn:
                seconds[name].append(figure)
    return {name: statistics.median(each) for name, each in seconds.items()}
