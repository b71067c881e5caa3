"""SIGTERM and SIGINT that come before a server listens to them.

`gateway.main` and `container` call `end_when_told` first of all. The process ends at once then, with status 0: there is
nothing to finish. It is ended by an exception, and not everybody lets one through (uvloop swallows it while it is
imported, and cannot be closed any more when it comes while its loop begins), so `beside.ServerBeside` calls
`note_when_told` before there is a loop, and asks `was_told` before it starts anything.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_told: list[int] = []


def end_when_told() -> None:
    """From now on."""
    for number in SIGNALS:
        signal.signal(number, _end)


def note_when_told() -> None:
    """From now on nothing is raised: the process is about to look, or has served and is ending anyway.

    (uvicorn raises the signal that it was ended by once more when it has drained.)
    """
    for number in SIGNALS:
        signal.signal(number, lambda number, _: _told.append(number))


def was_told() -> bool:
    """Whether one of the signals came."""
    return bool(_told)


def _end(number: int, _: FrameType | None) -> None:
    _told.append(number)
    sys.exit(0)
