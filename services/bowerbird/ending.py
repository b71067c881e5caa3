"""SIGTERM and SIGINT that come before a server listens to them.

`gateway.main` and `container` call `end_when_told` first of all. The process ends at once then, with status 0: there is
nothing to finish. It is ended by an exception, and not everybody lets one through (uvloop swallows it while it is
imported, and the process would serve on until it is killed), so `beside.ServerBeside` asks `was_told` when it has
started.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_told: list[int] = []


def end_when_told() -> None:
    """From now on, and again when uvicorn has drained and raises the signal that it was ended by."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def was_told() -> bool:
    """Whether one of the signals came."""
    return bool(_told)


def _end(number: int, _: FrameType | None) -> None:
    _told.append(number)
    sys.exit(0)
