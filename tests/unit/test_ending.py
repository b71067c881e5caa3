"""A process that is told to end before it serves, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SERVER = """
import signal, socket, sys
from contextlib import suppress
import uvicorn
from bowerbird.beside import ServerBeside
from bowerbird.ending import end_when_told

async def app(scope, receive, send):
    raise AssertionError("nobody asks, and nothing is started")

end_when_told()
listener = socket.create_server(("127.0.0.1", 0))
server = ServerBeside(uvicorn.Config(app, lifespan="on", loop="uvloop", log_config=None))
"""
SWALLOWED = """
with suppress(SystemExit):
    signal.raise_signal(signal.{signal})
print("swallowed", flush=True)
server.run(sockets=[listener])
print("ended")
"""
WHILE_THE_LOOP_BEGINS = """
def when_it_asks_for_a_socket(event, _):
    if event == "socket.__new__" and not told:
        told.append(signal.raise_signal(signal.{signal}))

told = []
sys.addaudithook(when_it_asks_for_a_socket)
server.run(sockets=[listener])
print(*["told" for _ in told], "ended")
"""


def ended(script: str, signal: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", (SERVER + script).format(signal=signal)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "services")},
    )


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("script", "said"), [(SWALLOWED, ["swallowed", "ended"]), (WHILE_THE_LOOP_BEGINS, ["told", "ended"])]
)
def test_a_signal_that_comes_before_it_serves_ends_the_server_quietly(
    script: str, said: list[str], signal: str
) -> None:
    done = ended(script, signal)

    assert (done.returncode, done.stdout.split(), done.stderr) == (0, said, "")
