"""A client that sends a whole request, and hangs up in the middle of its answer: when something has come true."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2


def leave_when(
    true: Callable[[], bool], gateway: httpx2.Client, headers: Mapping[str, str] | None = None, **body: Any
) -> None:
    """Asks for pictures and leaves; raises AssertionError where it does not come true."""
    content = json.dumps(body).encode()
    stated = {**gateway.headers, **(headers or {}), "Content-Type": "application/json"}
    stated |= {"Host": "gateway", "Content-Length": str(len(content))}
    lines = [f"{name}: {value}" for name, value in stated.items()]
    head = "\r\n".join(["POST /v1/images/generations HTTP/1.1", *lines])
    with socket.create_connection((gateway.base_url.host, gateway.base_url.port or 80)) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + content)
        for _ in range(6000):
            if true():
                return
            time.sleep(0.01)
        raise AssertionError("what it waited for did not come true")
