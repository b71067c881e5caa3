"""What of a stream has been heard, over all the connections that it took: neither client knows more than this.

following = Following(listening)
while not following.ended:
    connect with `following.call()`; for each event: yield from `following.news(…)`
    when the connection ends before the stream: rest `following.broke()` seconds
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Generic

from bowerbird.client.calls import Call, Event, Listening
from bowerbird.client.retrying import backoff_seconds
from bowerbird.deadline import Deadline
from bowerbird.errors import DeadlineExceeded, StageUnavailable

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""A picture of 16 megapixels as PNG, in base64, is less."""
SILENCE_SECONDS = 30.0
"""Streams say something at least every ten seconds; what is silent for so long is a connection that nobody holds."""


class ConnectionLost(StageUnavailable):
    """The connection broke before the answer was complete; whether the request was carried out is not known."""

    code = "connection_lost"


class Following(Generic[Event]):
    """One stream, resumed as often as it brings something new in between."""

    def __init__(self, listening: Listening[Event], retries: int, deadline: Deadline) -> None:
        self._listening = listening
        self._retries = retries
        self.deadline = deadline
        self._failures = 0
        self._last_id = ""
        self._last_number = -1
        self.ended = False

    def call(self) -> Call[None]:
        """What the next connection asks for."""
        call = self._listening.call
        if self._last_id and self._listening.resumed_by_id:
            return replace(call, headers={**call.headers, "Last-Event-ID": self._last_id})
        return call

    def news(self, name: str, event_id: str, data: str) -> Iterator[Event]:
        """The event, unless it was heard before; raises what the stream ended with, or DeadlineExceeded."""
        self._require_time()
        heard = self._listening.read(name, event_id, data)
        self._last_id = event_id or self._last_id
        if heard.number is not None:
            if heard.number <= self._last_number:
                return
            self._last_number = heard.number
        self._failures = 0
        self.ended = heard.last
        yield heard.event

    def broke(self, error: BaseException | None) -> float:
        """Seconds to rest before the next connection; raises ConnectionLost after too many without news."""
        self._require_time()
        self._failures += 1
        if self._failures > self._retries:
            raise ConnectionLost("The stream broke off again and again before it had ended.") from error
        return backoff_seconds(self._failures)

    def _require_time(self) -> None:
        if self.deadline.expired:
            raise DeadlineExceeded("The time that this client had for it is over.")
