"""What both clients say to httpx2, and how what it raises becomes a fact: neither waits for anything here.

Proxies of the environment are used, but not for this machine itself. The time that is left is told with each attempt
(`Bowerbird-Deadline-Ms`), so that the gateway stops computing when nobody waits any more.
"""

from __future__ import annotations

import math
from typing import Any

import httpx2

from bowerbird import __version__
from bowerbird.client.calls import Call, Received, Result, failure
from bowerbird.client.following import ConnectionLost
from bowerbird.client.retrying import NOT_SENT
from bowerbird.contracts import DEADLINE_HEADER
from bowerbird.deadline import MAX_DEADLINE_MS, Deadline
from bowerbird.errors import BowerbirdError, DeadlineExceeded, StageUnavailable

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 300.0
CONNECT_SECONDS = 10.0
GRACE_SECONDS = 5.0
"""What the client waits beyond the deadline it stated: the gateway's own answer says more than a closed connection."""
NOTHING_LEFT = 204


class GatewayUnreachable(StageUnavailable):
    """Nobody answers at the client's URL."""

    code = "gateway_unreachable"


def connection_options(url: str, key: str | None) -> dict[str, Any]:
    """Of `httpx2.Client` and of `httpx2.AsyncClient`."""
    headers = {"User-Agent": f"bowerbird/{__version__}"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    loopback = httpx2.URL(url).host in {"127.0.0.1", "::1", "localhost"}
    return {"base_url": url, "headers": headers, "trust_env": not loopback}


def request_options(call: Call[Any], deadline: Deadline, silence: float = math.inf) -> dict[str, Any]:
    """Of `build_request`; `silence` is how long nothing may be heard, where that is less than what is left."""
    for _, content in (call.files or {}).values():
        if not isinstance(content, bytes):
            content.seek(0)
    left = deadline.remaining_seconds
    reading = min(silence, left + GRACE_SECONDS)
    told = {DEADLINE_HEADER: str(max(1, min(MAX_DEADLINE_MS, int(left * 1000))))} if left < math.inf else {}
    return {
        "method": call.method,
        "url": call.path,
        "json": call.json,
        "data": call.fields,
        "files": call.files,
        "headers": {**call.headers, **told},
        "timeout": httpx2.Timeout(reading, connect=min(CONNECT_SECONDS, reading)),
    }


def result_of(call: Call[Result], response: httpx2.Response) -> Result:
    """What the answer says; raises the fact that it is, when it is one."""
    require_success(response)
    return call.read(Received(response.status_code, response.headers, response.content))


def require_success(response: httpx2.Response) -> None:
    """Raises the fact that the answer is, when it is one."""
    if not response.is_success:
        raise failure(Received(response.status_code, response.headers, response.content))


def is_told_in_events(response: httpx2.Response) -> bool:
    """Whether there is a stream to listen to; not where everything was heard before."""
    return response.is_success and response.status_code != NOTHING_LEFT


def fact_of(url: str, error: httpx2.HTTPError) -> BowerbirdError:
    """What it means for the caller that no answer came."""
    if isinstance(error, NOT_SENT):
        return GatewayUnreachable(f"No Bowerbird answers at {url}; `bowerbird up` starts one.")
    if isinstance(error, httpx2.TimeoutException):
        return DeadlineExceeded(f"{url} did not answer in time.")
    return ConnectionLost(f"The connection to {url} broke before the answer was complete.")
