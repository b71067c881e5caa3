"""A process that is told to end before it serves, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SWALLOWED = """
import signal, socket
from contextlib import suppress
import uvicorn
from bowerbird.beside import ServerBeside
from bowerbird.ending import end_when_told

async def app(scope, receive, send):
    raise AssertionError("nobody asks")

end_when_told()
with suppress(SystemExit):
    signal.raise_signal(signal.{signal})
print("swallowed", flush=True)
listener = socket.create_server(("127.0.0.1", 0))
ServerBeside(uvicorn.Config(app, lifespan="off", log_config=None)).run(sockets=[listener])
print("ended")
"""


def test_a_signal_whose_exception_was_swallowed_ends_the_server_all_the_same() -> None:
    for signal in ("SIGTERM", "SIGINT"):
        done = subprocess.run(
            [sys.executable, "-c", SWALLOWED.format(signal=signal)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "services")},
        )
        assert (done.returncode, done.stdout.split()) == (0, ["swallowed", "ended"]), done.stderr
