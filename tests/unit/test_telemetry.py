"""Traces and logs of a process of ours, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import asyncio, logging
import httpx
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from bowerbird.telemetry import trace_id
from bowerbird.worker import create_worker_app

async def who(request):
    logging.getLogger("bowerbird.test").info("asked")
    return PlainTextResponse(str(trace_id()))

async def ask():
    app = create_worker_app("test-service", [Route("/who", who)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as http:
        header = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        print((await http.get("/who", headers=header)).text)
        print((await http.get("/who")).text)

asyncio.run(ask())
"""


def test_a_process_continues_the_callers_trace_and_logs_its_id() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    continued, own = run.stdout.split()
    assert continued == "0af7651916cd43dd8448eb211c80319c"
    assert len(own) == 32
    assert own != continued
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["trace_id"] for line in lines] == [continued, own]
    assert {(line["service"], line["level"], line["message"]) for line in lines} == {("test-service", "INFO", "asked")}
