"""How far those that compute let others go first on processors that they share.

A service: animation calls `let_others_go_first` before it opens its model. In `bowerbird up` its clips, which are jobs,
share a machine with stills that somebody waits for. Alone it loses nothing. In a cluster pods have their own shares
(`resources.requests`).

A thread: whoever computes on the CPU keeps every core busy for seconds, while the event loop beside it has a
millisecond's work now and then that somebody waits for; so such threads `give_way` (the backend `cpu`).
*Measured* (`python -m benchmarks gateway --row cancel`, two cores): while a hang-up was on its way 0.5 steps were
computed, with this 0.1.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

LESS_IMPORTANT = 5
"""Of a thread that computes: a third of the time of one that answers, when both always want to run."""
_AUTOGROUP = Path("/proc/self/autogroup")


def let_others_go_first(niceness: int) -> None:
    """Sets the niceness (0 to 19, see nice(2)) of the threads that this one starts from here on, and of its session.

    Linux hands processor time to sessions first where autogroups are on (sched(7)), and every service has a session of
    its own; their niceness is the kernel's to refuse (where there are none, or after a change a moment ago), and then
    nothing is lost but a share.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError):
        _AUTOGROUP.write_text(str(niceness))


def give_way() -> None:
    """Makes the calling thread, and those that it starts, less important than the others of its process, for good.

    On Linux alone niceness is a thread's own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LESS_IMPORTANT)
