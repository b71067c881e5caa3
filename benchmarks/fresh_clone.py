"""`python -m benchmarks.fresh_clone`: how long a newcomer waits, from `git clone` to the first picture.

Clones the committed tree into a temporary folder and types `make up` there, with the machine's package cache as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.results import record, show

GOAL_SECONDS = 90


def main() -> None:
    """Measure one fresh clone."""
    with tempfile.TemporaryDirectory(prefix="bowerbird-") as parent:
        clone = Path(parent) / "bowerbird"
        begin = time.monotonic()
        here = Path(__file__).parent.parent
        subprocess.run(["git", "clone", "--quiet", str(here), str(clone)], check=True)  # noqa: S603, S607
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "VIRTUAL_ENV"))}
        up = subprocess.Popen(
            ["make", "up"],  # noqa: S607
            cwd=clone,
            env=environment | {"BOWERBIRD_PORT": "0"},
            start_new_session=True,
        )
        first = clone / "out" / "first.png"
        while not first.exists() and up.poll() is None:
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        drawn = first.exists()
        os.killpg(up.pid, signal.SIGINT)
        up.wait(60)
    if not drawn:
        raise SystemExit("make up ended without a picture")
    show("Fresh clone", ["", "seconds", "goal"], [["git clone to first picture", f"{seconds:.1f}", GOAL_SECONDS]])
    record("fresh_clone", {"seconds": seconds})


if __name__ == "__main__":
    main()
