"""Computing gives way to answering, where both take the same cores.

Whoever computes on the CPU keeps every core busy for seconds; gateway, safety, curation and the event loop of the
service itself have a millisecond's work now and then, and somebody waits for it. *Measured* (`python -m benchmarks
gateway --row cancel`, two cores): in the time that a hang-up took through all hops 0.5 steps were computed, with this
0.1.
"""

from __future__ import annotations

import os
import sys
import threading

LESS_IMPORTANT = 5
"""Niceness: a third of the time of a thread that answers, when both always want to run."""


def give_way() -> None:
    """Lowers the priority of the calling thread, and of those that it starts, for good.

    On Linux alone niceness is a thread's own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LESS_IMPORTANT)
