"""How far a service lets others go first on processors that they share.

Called by animation before it opens its model: in `bowerbird up` its clips, which are jobs, share a machine with stills
that somebody waits for. Alone it loses nothing. In a cluster pods have their own shares (`resources.requests`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

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
