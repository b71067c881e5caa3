"""A service that lets others go first, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TELLING = """
import os, threading
from pathlib import Path
from bowerbird.niceness import let_others_go_first
let_others_go_first(7)
thread = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0)))
thread.start()
thread.join()
group = Path("/proc/self/autogroup")
print(group.read_text().split()[-1] if group.exists() else "none")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of threads is Linux's")
def test_threads_that_begin_later_and_the_session_let_others_go_first() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TELLING], capture_output=True, text=True, check=True, start_new_session=True
    )
    thread, group = done.stdout.split()
    assert int(thread) == max(7, os.getpriority(os.PRIO_PROCESS, 0))
    if Path("/proc/self/autogroup").exists() and os.geteuid() == 0:
        assert group == "7"
