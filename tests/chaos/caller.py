"""One exchange with a gateway, written into the ledger.

It knows how an exchange can end, and nothing of why it was begun: that is `traffic`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from .ledger import Answered, Exchange, Ledger, Outcome, Step
from .picture import Picture, read_picture
from .stack import KEYS

LIMIT_SECONDS = 60.0
"""Of one exchange: longer than a gateway may keep a request."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sent, and for which operation."""

    operation: int
    step: Step
    tenant: int
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None
    limit_seconds: float = LIMIT_SECONDS


class Caller:
    """Sends requests to gateways and remembers what was told."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], ledger: Ledger) -> None:
        self._session = session
        self._urls = urls
        self._ledger = ledger
        self._seen: dict[str, Picture] = {}

    async def send(self, request: Request, gateway: int) -> Exchange:
        """One exchange with the gateway of this number (any number means one)."""
        number = gateway % len(self._urls)
        sent_at = time.time()
        empty = Exchange(request.operation, request.step, number, sent_at, sent_at, Outcome.BROKE_OFF, job=request.job)
        exchange = await self._exchanged(request, self._urls[number], empty)
        exchange = replace(exchange, ended_at=time.time())
        self._ledger.wrote(exchange)
        return exchange

    async def hear(self, request: Request, gateway: int, last: int) -> list[tuple[int, str]]:
        """The events of a job after number `last`, until the connection ends in whatever way."""
        heard: list[tuple[int, str]] = []
        headers = {**self._headers(request), "Last-Event-ID": str(last)}
        timeout = aiohttp.ClientTimeout(total=request.limit_seconds)
        url = self._urls[gateway % len(self._urls)] + request.path
        try:
            async with self._session.get(url, headers=headers, timeout=timeout) as answer:
                fields: dict[str, str] = {}
                if answer.status != 200:
                    return heard
                async for line in answer.content:
                    name, colon, value = line.decode().rstrip("\r\n").partition(": ")
                    if colon:
                        fields[name] = value
                    elif fields:
                        if "id" in fields:
                            heard.append((int(fields["id"]), fields["event"]))
                        fields = {}
        except (aiohttp.ClientError, TimeoutError):
            pass
        return heard

    async def read(self, path: str, tenant: int, gateway: int) -> dict[str, Any] | None:
        """The JSON at a path when the gateway gives it now, outside of the ledger."""
        headers = {"Authorization": f"Bearer {KEYS[tenant]}"}
        try:
            async with self._session.get(self._urls[gateway % len(self._urls)] + path, headers=headers) as answer:
                found: dict[str, Any] = await answer.json()
                return found if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def _exchanged(self, request: Request, url: str, exchange: Exchange) -> Exchange:
        timeout = aiohttp.ClientTimeout(total=request.limit_seconds)
        data = None if request.body is None else json.dumps(request.body).encode()
        try:
            async with self._session.request(
                request.method, url + request.path, data=data, headers=self._headers(request), timeout=timeout
            ) as answer:
                exchange = replace(exchange, status=answer.status, request_id=answer.headers.get("x-request-id"))
                raw = await answer.read()
        except aiohttp.ClientConnectorError:
            return replace(exchange, outcome=Outcome.NEVER_ARRIVED)
        except (aiohttp.ClientError, TimeoutError):
            return exchange
        return await self._told(replace(exchange, outcome=Outcome.TOLD), raw)

    def _headers(self, request: Request) -> dict[str, str]:
        content = {} if request.body is None else {"Content-Type": "application/json"}
        return {"Authorization": f"Bearer {KEYS[request.tenant]}", **content, **request.headers}

    async def _told(self, exchange: Exchange, raw: bytes) -> Exchange:
        """What the body says."""
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return exchange  # without a code: the books will ask why
        if exchange.status is not None and exchange.status >= 400:
            error = body["error"]
            return replace(exchange, code=error["code"], job=error.get("job", exchange.job), state=error.get("state"))
        if "bowerbird" in body:
            return replace(exchange, answered=await self._answered(body))
        if body.get("object") == "job":
            code = (body["error"] or {}).get("code")
            return replace(exchange, job=body["id"], state=body["status"], code=code)
        if "results" in body:
            flagged = bool(body["results"][0]["flagged"])
            return replace(exchange, flagged=flagged, digest=hashlib.sha256(raw).hexdigest())
        return exchange

    async def _answered(self, body: dict[str, Any]) -> Answered:
        facts = body["bowerbird"]
        files = [base64.b64decode(each["b64_json"]) for each in body["data"]]
        return Answered(
            identifier=body["safety_identifier"],
            seeds=tuple(each["seed"] for each in facts["images"]),
            source=facts["source"],
            drawn_by=facts["drawn_by"],
            model_digest=facts["model_digest"],
            size=body["size"],
            steps=facts["steps"],
            output_format=body["output_format"],
            revised=any(each.get("revised_prompt") for each in body["data"]),
            pictures=tuple([await self._seen_as(each) for each in files]),
        )

    async def _seen_as(self, file: bytes) -> Picture:
        """Reading a picture takes ten milliseconds, and many files come several times."""
        digest = hashlib.sha256(file).hexdigest()
        if digest not in self._seen:
            self._seen[digest] = await asyncio.to_thread(read_picture, file)
        return self._seen[digest]
