"""One request to a receiver, bounded in everything: where it leads, how long it takes, how much of the answer is read.

Nothing of the answer but its status is read, and nothing of it is kept. A redirect is an answer like any other, which
is not followed: where it leads, nobody has looked. Neither proxies nor credentials are taken from the environment, no
cookie is kept, no connection used again. Names are resolved in threads of their own: a name server that does not answer
holds up webhooks and nobody else.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from bowerbird import __version__
from bowerbird.gateway.webhooks.addresses import AddressRefused, ReachableAddresses
from bowerbird.gateway.webhooks.events import Event
from bowerbird.gateway.webhooks.signing import signed_headers

ATTEMPT_SECONDS = 10.0
"""From the name's resolution to the answer's status."""
CONNECT_SECONDS = 5.0
READ_BYTES = 4096
RESOLVING_THREADS = 8
LONGEST_RETRY_AFTER_SECONDS = 3600

GetAddresses = Callable[..., list[tuple[Any, ...]]]


class Outcome(StrEnum):
    """How an attempt ended; only `delivered` is good."""

    DELIVERED = "delivered"
    """Status 2xx."""
    ERROR_STATUS = "error_status"
    REDIRECTED = "redirected"
    """Status 3xx: not followed."""
    TIMED_OUT = "timed_out"
    NAME_UNRESOLVED = "name_unresolved"
    ADDRESS_REFUSED = "address_refused"
    """The name leads to an address that is not public."""
    TLS_FAILED = "tls_failed"
    """Above all a certificate that is not valid for the name."""
    CONNECTION_FAILED = "connection_failed"
    ANSWER_BROKEN = "answer_broken"
    """Not HTTP, or headers larger than those that are read."""
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - an outcome
    """Ours: none of this gateway's keys opens the secret; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended."""

    outcome: Outcome
    status: int | None
    """Of the answer, if there was one."""
    latency_ms: int
    retry_after_seconds: float = 0.0
    """What the receiver asked for; at most an hour."""


class Sender:
    """Sends, many at once, while `open_sender` is open."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, url: str, event: Event, secrets: Sequence[bytes]) -> Attempt:
        """One signed attempt; never raises for what a receiver does."""
        began = time.perf_counter()

        def ended(outcome: Outcome, answer: aiohttp.ClientResponse | None = None) -> Attempt:
            took = round((time.perf_counter() - began) * 1000)
            return Attempt(outcome, None if answer is None else answer.status, took, _retry_after(answer))

        headers = signed_headers(event, datetime.now(UTC), secrets)
        try:
            async with self._session.post(url, data=event.body, headers=headers, allow_redirects=False) as answer:
                return ended(_outcome_of(answer.status), answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            return ended(_outcome_of_error(error))


@asynccontextmanager
async def open_sender(
    addresses: ReachableAddresses, get_addresses: GetAddresses = socket.getaddrinfo
) -> AsyncIterator[Sender]:
    """A sender to what `addresses` allows; `get_addresses` replaces the resolver, for tests of what names lead to."""
    threads = ThreadPoolExecutor(RESOLVING_THREADS, thread_name_prefix="webhook-names")
    try:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(threads, get_addresses),
            socket_factory=addresses.make_socket,
            use_dns_cache=False,
            force_close=True,
            limit=0,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "User-Agent": f"Bowerbird/{__version__}"},
            trust_env=False,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
        ) as session:
            yield Sender(session)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # a name server that does not answer holds up nobody's end


class _Resolver(AbstractResolver):
    """getaddrinfo in threads that nobody else needs."""

    def __init__(self, threads: ThreadPoolExecutor, get_addresses: GetAddresses) -> None:
        self._threads = threads
        self._get_addresses = get_addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._get_addresses(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """The threads are closed by who made them."""


def _outcome_of(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.REDIRECTED if 300 <= status < 400 else Outcome.ERROR_STATUS


_OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (TimeoutError, Outcome.TIMED_OUT),
    (aiohttp.ClientConnectorDNSError, Outcome.NAME_UNRESOLVED),
    (aiohttp.ClientSSLError, Outcome.TLS_FAILED),
    (aiohttp.InvalidURL, Outcome.ADDRESS_REFUSED),  # 127.1, 0x7f000001: spellings that hide which address it is
    (aiohttp.ClientResponseError, Outcome.ANSWER_BROKEN),
    (aiohttp.ClientPayloadError, Outcome.ANSWER_BROKEN),
)
"""What is raised -> what it means; the first that fits."""


def _outcome_of_error(error: Exception) -> Outcome:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return Outcome.ADDRESS_REFUSED
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), Outcome.CONNECTION_FAILED)


def _retry_after(answer: aiohttp.ClientResponse | None) -> float:
    """Seconds, where the receiver states them; a date says nothing to us."""
    stated = "" if answer is None else answer.headers.get("Retry-After", "")
    if not (stated.isascii() and stated.isdigit() and len(stated) < 10):
        return 0.0
    return float(min(int(stated), LONGEST_RETRY_AFTER_SECONDS))
