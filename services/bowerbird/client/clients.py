"""`Client` and `AsyncClient`: the same calls, blocking and awaited.

A connection pool lives as long as the client; use it as a context manager or call `close`. The time a request may take
is told to the gateway (`Bowerbird-Deadline-Ms`), which stops computing when nobody waits any more. Proxies of the
environment are used, but not for this machine itself.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, Unpack

import httpx2

from bowerbird import __version__
from bowerbird.client import calls
from bowerbird.client.calls import Call, Received
from bowerbird.client.values import Drawing, DrawOptions, Model, ProvenanceCheck
from bowerbird.contracts import DEADLINE_HEADER
from bowerbird.errors import DeadlineExceeded, StageUnavailable

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 300.0
GRACE_SECONDS = 5.0
"""What the client waits beyond the deadline it stated: the gateway's own answer says more than a closed connection."""

Result = TypeVar("Result")


class GatewayUnreachable(StageUnavailable):
    """Nobody answers at the client's URL."""

    code = "gateway_unreachable"


class Client:
    """A gateway, called blockingly."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._url = url
        self._http = httpx2.Client(transport=transport, **_connection(url, key, timeout_seconds))

    def draw(self, prompt: str, **options: Unpack[DrawOptions]) -> list[Drawing]:
        """Draws `n` pictures; raises the classes of `bowerbird.errors` (PromptRefused, SizeUnsupported, …)."""
        return self.send(calls.draw(prompt, options))

    def models(self) -> list[Model]:
        """The models that are served."""
        return self.send(calls.models())

    def check_provenance(self, image: bytes) -> ProvenanceCheck:
        """Reads a file's origin; the answer is about what its labels prove, never that it was not generated."""
        return self.send(calls.check_provenance(image))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the connections."""
        self.close()

    def send(self, call: Call[Result]) -> Result:
        """Sends one of `calls`, or of `administration`; raises what the gateway answers with."""
        try:
            response = self._http.request(call.method, call.path, json=call.json, files=call.files)
        except httpx2.HTTPError as error:
            _raise_fact(self._url, error)
        return _read(call, response)


class AsyncClient:
    """A gateway, called from an event loop."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(transport=transport, **_connection(url, key, timeout_seconds))

    async def draw(self, prompt: str, **options: Unpack[DrawOptions]) -> list[Drawing]:
        """Draws `n` pictures; raises the classes of `bowerbird.errors` (PromptRefused, SizeUnsupported, …)."""
        return await self.send(calls.draw(prompt, options))

    async def models(self) -> list[Model]:
        """The models that are served."""
        return await self.send(calls.models())

    async def check_provenance(self, image: bytes) -> ProvenanceCheck:
        """Reads a file's origin; the answer is about what its labels prove, never that it was not generated."""
        return await self.send(calls.check_provenance(image))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Closes the connections."""
        await self.close()

    async def send(self, call: Call[Result]) -> Result:
        """Sends one of `calls`, or of `administration`; raises what the gateway answers with."""
        try:
            response = await self._http.request(call.method, call.path, json=call.json, files=call.files)
        except httpx2.HTTPError as error:
            _raise_fact(self._url, error)
        return _read(call, response)


def _connection(url: str, key: str | None, timeout_seconds: float) -> dict[str, Any]:
    headers = {"User-Agent": f"bowerbird/{__version__}", DEADLINE_HEADER: str(int(timeout_seconds * 1000))}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    timeout = httpx2.Timeout(timeout_seconds + GRACE_SECONDS, connect=10.0)
    loopback = httpx2.URL(url).host in {"127.0.0.1", "::1", "localhost"}
    return {"base_url": url, "headers": headers, "timeout": timeout, "trust_env": not loopback}


def _raise_fact(url: str, error: httpx2.HTTPError) -> NoReturn:
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        raise DeadlineExceeded(f"{url} did not answer in time.") from error
    raise GatewayUnreachable(f"No Bowerbird answers at {url}; `bowerbird up` starts one.") from error


def _read(call: Call[Result], response: httpx2.Response) -> Result:
    received = Received(response.status_code, response.headers, response.content)
    if not response.is_success:
        raise calls.failure(received)
    return call.read(received)
