"""A list of objects that is kept true by a watch; what client-go calls a reflector.

One list says what there is and at which `resourceVersion`; a watch from there on says what changes. When the watch
ends, by its time or with its connection, the next one begins at the last version that was heard of: nothing is missed.
Bookmarks move that version on while nothing changes, so that it stays young enough to be resumed from. When the API
server has forgotten it all the same (410 Gone, as the answer or as an event), everything is listed anew.

While the API server cannot be asked, nothing is told: what is known stands. It is asked again after a pause that
doubles, from FIRST_PAUSE_SECONDS to LONGEST_PAUSE_SECONDS, with jitter, since all gateways lose it together.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing

from bowerbird.gateway.discovery.api_server import ApiServer, ApiServerAway, ApiServerRefused, Json

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
GONE = 410

Told = Callable[[Mapping[str, Json]], None]
"""Is given all objects by name, after each list and after each change."""

logger = logging.getLogger(__name__)


class Reflection:
    """The objects of one kind that a label selector finds; `run` keeps them."""

    def __init__(self, server: ApiServer, path: str, selector: str, told: Told) -> None:
        self._server = server
        self._path = path
        self._selector = selector
        self._told = told
        self._objects: dict[str, Json] = {}
        self._version: str | None = None
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        while True:
            began = time.monotonic()
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
                if time.monotonic() - began > FIRST_PAUSE_SECONDS:  # it ended by its time
                    continue
            except ApiServerRefused as error:
                self._version = None
                if error.status == GONE:
                    logger.info("the watch's place is forgotten; everything is listed anew", extra={"path": self._path})
                    continue
                logger.warning("the API server refuses", extra={"path": self._path, "reason": str(error)})
            except ApiServerAway as error:
                logger.warning("the API server is away", extra={"path": self._path, "reason": str(error)})
            except Exception:  # a bug, or an object of another shape: the others must not stay as they are for it
                logger.exception("objects were not understood", extra={"path": self._path})
                self._version = None
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _list(self) -> None:
        found = await self._server.get(self._path, labelSelector=self._selector)
        self._objects = {each["metadata"]["name"]: each for each in found.get("items") or []}
        self._version = found["metadata"]["resourceVersion"]
        self._pause = FIRST_PAUSE_SECONDS
        self._told(self._objects)

    async def _watch(self, version: str) -> None:
        watch = self._server.watch(self._path, labelSelector=self._selector, resourceVersion=version)
        async with aclosing(watch) as events:
            async for event in events:
                self._pause = FIRST_PAUSE_SECONDS
                self._hear(event["type"], event["object"])

    def _hear(self, kind: str, changed: Json) -> None:
        if kind == "ERROR":
            raise ApiServerRefused(int(changed.get("code", 500)), str(changed.get("reason", "")))
        self._version = changed["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self._objects.pop(changed["metadata"]["name"], None)
        else:
            self._objects[changed["metadata"]["name"]] = changed
        self._told(self._objects)
