"""Kubernetes' API server as this gateway asks it: its own token, its CA, JSON in and out.

Both files are replaced while a pod runs: the token every hour or so, the CA when the cluster's is rotated. So the token
is read for each request and the CA whenever its file has changed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bowerbird.settings import Settings

ANSWER_SECONDS = 5.0
WATCH_SECONDS = 60
"""After which the API server ends a watch; it goes on from there. Nothing that is dead is listened to for longer."""
SILENT_SECONDS = WATCH_SECONDS + 15.0
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Of one object: etcd takes 1.5 MiB, and JSON is wider than what it keeps."""
MERGE_PATCH = "application/merge-patch+json"

Json = dict[str, Any]


class ApiServerAway(ConnectionError):
    """It cannot be reached, does not answer in time, or says that it cannot answer now; what was known stands."""


class ApiServerRefused(Exception):
    """It answered that it will not: `status` is HTTP's, `reason` Kubernetes' word for it (`Forbidden`, `Expired`)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class ApiServer:
    """One namespace of a cluster; made by `open_api_server`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, namespace: str, token: Path) -> None:
        self.namespace = namespace
        self._session = session
        self._url = url.rstrip("/")
        self._token = token

    async def get(self, path: str, **query: str) -> Json:
        """One object, or a list of them; raises ApiServerAway or ApiServerRefused."""
        return await self._ask("GET", path, query)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Json:
        """The object as it is after a JSON merge patch (RFC 7386)."""
        return await self._ask("PATCH", path, {}, body)

    async def watch(self, path: str, **query: str) -> AsyncGenerator[Json]:
        """Events as they happen, until the API server ends the watch; raises as `get` does."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=SILENT_SECONDS)
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        async with self._answer("GET", path, query, timeout=timeout) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _read(line)
                if len(rest) > MAX_LINE_BYTES:
                    raise ApiServerAway(f"an event is larger than {MAX_LINE_BYTES} bytes")

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Json:
        sent: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=ANSWER_SECONDS)}
        if body is not None:
            sent |= {"data": json.dumps(body), "headers": {"Content-Type": MERGE_PATCH}}
        async with self._answer(method, path, query, **sent) as answer:
            return _read(await answer.read())

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: Mapping[str, str], **sent: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            token = (await asyncio.to_thread(self._token.read_text, "utf-8")).strip()
            headers = {"Accept": "application/json", "Authorization": f"Bearer {token}", **sent.pop("headers", {})}
            address = self._url + path.replace("{namespace}", self.namespace)
            async with self._session.request(
                method, address, params=query, headers=headers, allow_redirects=False, **sent
            ) as answer:
                if answer.status >= 500 or answer.status == 429:
                    raise ApiServerAway(f"it answered {answer.status}")
                if answer.status >= 300:
                    raise ApiServerRefused(answer.status, _reason(await answer.read()))
                yield answer
        except ApiServerAway:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiServerAway(f"it cannot be asked: {type(error).__name__}") from error


@asynccontextmanager
async def open_api_server(settings: Settings, namespace: str) -> AsyncIterator[ApiServer]:
    """The cluster that this pod runs in, until the context ends; raises SystemExit where its CA cannot be read."""
    trust = _Trust(settings.kubernetes_ca)
    connector = aiohttp.TCPConnector(ssl=trust.context)
    async with aiohttp.ClientSession(
        connector=connector, trace_configs=[trust.looked_at_before_connecting()]
    ) as session:
        yield ApiServer(session, settings.kubernetes_url, namespace, settings.kubernetes_token)


class _Trust:
    """The cluster's CA; what it is replaced by is trusted as well from the next connection on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._read = file.stat().st_mtime_ns
            self.context = ssl.create_default_context(cafile=str(file))
        except OSError as error:
            raise SystemExit(f"BOWERBIRD_KUBERNETES_CA: {file} cannot be read.") from error

    def looked_at_before_connecting(self) -> aiohttp.TraceConfig:
        """What the session calls before it makes a connection."""
        hooks = aiohttp.TraceConfig()
        hooks.on_connection_create_start.append(self._look)
        return hooks

    async def _look(self, *_: object) -> None:
        changed = self._file.stat().st_mtime_ns
        if changed != self._read:
            self.context.load_verify_locations(cafile=str(self._file))
            self._read = changed


def _read(raw: bytes) -> Json:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise ApiServerAway("what it answered is no JSON") from error
    if not isinstance(found, dict):
        raise ApiServerAway("what it answered is no object")
    return found


def _reason(raw: bytes) -> str:
    """Of a `Status`, for the log; another body, of a proxy say, gives none."""
    try:
        return str(_read(raw).get("reason", ""))
    except ApiServerAway:
        return ""
