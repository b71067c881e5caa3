"""Objects as the API server has them, read over connections that stay open.

For what is looked at several times a second, by many tests at once: a kubectl of its own for each look is a tenth of a
second of a core, of two that the pods under test are started on. `kubectl proxy` opens whatever a kubeconfig leads to.
"""

from __future__ import annotations

import atexit
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from .binaries import program

ANSWER_SECONDS = 30.0


class NotRead(Exception):
    """An object could not be read; the message is what the API server said, or what was in the way to it."""


def read(kubeconfig: Path, path: str, query: Mapping[str, str]) -> Any:
    """What a GET of this path of the API gives, parsed; raises NotRead."""
    try:
        answer = _proxy(kubeconfig, kubeconfig.stat().st_mtime_ns).get(path, params=query)
    except httpx2.TransportError as error:
        raise NotRead(f"{path}: {type(error).__name__}") from error
    if answer.status_code != httpx2.codes.OK:
        raise NotRead(f"{path}: {answer.status_code} {answer.text}")
    return answer.json()


@cache
def _proxy(kubeconfig: Path, _written_ns: int) -> httpx2.Client:
    """A client of a proxy that ends with this process; a cluster that is started anew has another kubeconfig there."""
    command = [str(program("kubectl")), "--kubeconfig", str(kubeconfig), "proxy", "--port=0", "--address=127.0.0.1"]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(proxy.kill)
    assert proxy.stdout is not None
    address = proxy.stdout.readline().split()[-1]  # Starting to serve on 127.0.0.1:40031
    proxy.stdout.close()
    client = httpx2.Client(base_url=f"http://{address}", timeout=ANSWER_SECONDS)
    atexit.register(client.close)
    return client
