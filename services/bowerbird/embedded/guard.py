"""The guard: ends a stack's processes when `bowerbird up` itself was killed and could not.

`bowerbird up` starts `python -m bowerbird.embedded.guard STACK_ID` in a session of its own and holds the other end of
its standard input. That pipe closes when `up` ends, however it ends, SIGKILL included; the guard then stops whatever
carries the stack's mark. After an orderly stop there is nothing left and it just ends. A parent-death signal would not
do: it reaches the direct children only, exists on Linux only, and nobody would be there to insist.
"""

from __future__ import annotations

import signal
import sys

from bowerbird.embedded.processes import end_processes, marks

GRACE_SECONDS = 5.0


def main(stack_id: str) -> None:
    """Waits for the end of standard input, then leaves no process of the stack behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_processes(marks(stack_id), GRACE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
