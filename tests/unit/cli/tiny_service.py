"""A service as the supervisor sees one: /readyz answers (like a gateway without stages); it misbehaves when told to.

    python tiny_service.py PORT [die | stubborn | family | …]

`die` exits with 1 after a line on standard error, `stubborn` ignores SIGTERM, `family` starts a worker with a session
of its own (as `bentoml serve` does) that ignores SIGTERM. Any other one finishes something after SIGTERM, and says when
it was asked to end and when it did, in seconds of the clock that all processes share.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType
from typing import NoReturn

WORKER_MODULE = "tiny-worker"
FINISHING_SECONDS = 0.2


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"status": "ready", "stages": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def finish(_signal: int, _frame: FrameType | None) -> NoReturn:
    print(f"asked at {time.monotonic()}", flush=True)
    time.sleep(FINISHING_SECONDS)
    print(f"ended at {time.monotonic()}", flush=True)
    sys.exit(0)


def main(port: str, behaviour: str = "serve") -> None:
    if port == WORKER_MODULE:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if behaviour == "die":
        sys.exit("no bundle to be found")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "stubborn" else finish)
    if behaviour == "family":
        subprocess.Popen([sys.executable, __file__, WORKER_MODULE], start_new_session=True)
    print("listening", flush=True)
    HTTPServer(("127.0.0.1", int(port)), Ready).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
