"""Where there is room: every endpoint with its slots, and the least loaded one that may be given more.

Three things keep an endpoint from being given more than its slots alone would:

- It said that it is full (429), although it should have room: it works for others too, or is about to stop. It is left
  alone for as long as it said, or until something of ours there ends, whichever is sooner.
- It is not ready, or not there, as whoever looks at it says.
- It was lost: a request found it dead, or died with it. It is ejected for a pause that doubles with every loss, and
  after it the next look that finds it ready puts it on trial: one request at a time, until one is finished there. An
  endpoint that answers its probe and breaks every request costs few of them that way.

Work of class `batch` takes a slot from other such work only: an endpoint computes it when nobody else is there
(`engine/scheduling`), so that an interactive request has as many slots as if there were none of it, and never waits for
the end of what itself waits for it. What an endpoint is given of class `batch` is what it has slots for in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bowerbird.contracts import WorkClass


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long an ejected endpoint is left alone: the first time, and at most."""

    first_seconds: float = 1.0
    longest_seconds: float = 30.0

    def after(self, losses: int) -> float:
        """The pause after so many losses in a row."""
        return float(min(self.first_seconds * 2 ** min(losses - 1, 30), self.longest_seconds))


@dataclass(slots=True)
class Endpoint:
    """One endpoint; `slots` is what it takes at once, `in_flight` what it has of us."""

    url: str
    slots: int
    unit_seconds: float | None = None
    ready: bool = True
    in_flight: int = 0
    batch_in_flight: int = 0
    """How much of that is of class `batch`."""
    losses: int = 0
    closed_until: float = -math.inf
    batch_closed_until: float = -math.inf
    """For such work alone: it had no room for some, which says nothing of interactive work."""
    used: int = 0
    """When it was last given something, counted in grants."""
    gone: bool = False
    """It will not come back; it is kept while it has something of us."""

    @property
    def room(self) -> int:
        """What it takes at once: a slot only while it is on trial, nothing while it is not ready."""
        return min(self.slots, 1) if self.losses and self.ready else self.slots if self.ready else 0

    def open(self, now: float, work_class: WorkClass) -> bool:
        """It may be given something of this class."""
        if work_class is WorkClass.BATCH:
            return self.in_flight < self.room and now >= max(self.closed_until, self.batch_closed_until)
        return self.in_flight - self.batch_in_flight < self.room and now >= self.closed_until

    def reopening(self) -> float:
        """When it may be given something again that it has room for now; never where it is not full for a while."""
        pauses = [self.closed_until] if self.in_flight - self.batch_in_flight < self.room else []
        pauses += [self.batch_closed_until] if self.in_flight < self.room else []
        return min((each for each in pauses if each > -math.inf), default=math.inf)


class Endpoints:
    """All endpoints of one stage."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()
        self._endpoints: dict[str, Endpoint] = {}
        self._grants = 0

    def seen_ready(self, url: str, slots: int, unit_seconds: float | None, now: float) -> None:
        """A look found it ready, with so many slots; ignored while it is ejected."""
        endpoint = self._endpoints.setdefault(url, Endpoint(url, slots, ready=False))
        endpoint.slots, endpoint.unit_seconds, endpoint.gone = slots, unit_seconds, False
        if not endpoint.ready and now >= endpoint.closed_until:
            endpoint.ready = True

    def seen_away(self, url: str) -> None:
        """A look found it not ready, or did not find it; what it has of us may still end well."""
        if endpoint := self._endpoints.get(url):
            endpoint.ready = False

    def seen_gone(self, url: str) -> None:
        """Nobody looks at it any more: its pod ends. It is forgotten with the last that it has of us."""
        if endpoint := self._endpoints.get(url):
            endpoint.ready, endpoint.gone = False, True
            self._forget(endpoint)

    @property
    def in_flight(self) -> dict[str, int]:
        """What each has, by URL."""
        return {url: each.in_flight for url, each in self._endpoints.items()}

    def _forget(self, endpoint: Endpoint) -> None:
        if endpoint.gone and not endpoint.in_flight:
            del self._endpoints[endpoint.url]

    def least_loaded(self, now: float, work_class: WorkClass = WorkClass.INTERACTIVE) -> Endpoint | None:
        """The one to give something to; of equals the one that was given nothing for longest. None without room."""
        return min(
            (each for each in self._endpoints.values() if each.open(now, work_class)),
            key=lambda each: (each.in_flight / each.room, each.used),
            default=None,
        )

    def known(self, url: str) -> Endpoint:
        """The endpoint of this URL; one that was not looked at yet has no slot to give."""
        return self._endpoints.setdefault(url, Endpoint(url, 0, ready=False))

    def take(self, endpoint: Endpoint, work_class: WorkClass = WorkClass.INTERACTIVE) -> None:
        """A slot of it is given."""
        self._grants += 1
        endpoint.in_flight, endpoint.used = endpoint.in_flight + 1, self._grants
        endpoint.batch_in_flight += work_class is WorkClass.BATCH

    def give_back(self, url: str, finished: bool, work_class: WorkClass = WorkClass.INTERACTIVE) -> None:
        """A slot of it is free again; what was finished there ends its trial."""
        endpoint = self._endpoints[url]
        endpoint.in_flight -= 1
        endpoint.batch_in_flight -= work_class is WorkClass.BATCH
        if endpoint.ready:
            endpoint.closed_until = endpoint.batch_closed_until = -math.inf
        if finished:
            endpoint.losses = 0
        self._forget(endpoint)

    def full(self, url: str, now: float, seconds: float, work_class: WorkClass = WorkClass.INTERACTIVE) -> None:
        """It had no room for what it was given, and will not have any for so long."""
        endpoint = self._endpoints[url]
        self.give_back(url, finished=False, work_class=work_class)
        if endpoint.ready and work_class is WorkClass.BATCH:
            endpoint.batch_closed_until = now + seconds
        elif endpoint.ready:
            endpoint.closed_until = now + seconds

    def lost(self, url: str, now: float, work_class: WorkClass = WorkClass.INTERACTIVE) -> None:
        """It died with what it was given; several requests that die with it are one loss."""
        endpoint = self._endpoints[url]
        self.give_back(url, finished=False, work_class=work_class)
        if endpoint.ready:
            endpoint.ready = False
            endpoint.losses += 1
            endpoint.closed_until = now + self._pauses.after(endpoint.losses)

    @property
    def slots(self) -> int:
        """Of the endpoints that are ready."""
        return sum(each.room for each in self._endpoints.values())

    @property
    def units_per_second(self) -> float | None:
        """What the ready endpoints compute by their own account, one row at a time; None where none of them says."""
        stated = [1 / each.unit_seconds for each in self._endpoints.values() if each.room and each.unit_seconds]
        return sum(stated) or None

    def reopening(self) -> float | None:
        """When the first of those that are full for a while will be asked again; None when none is."""
        soonest = min((each.reopening() for each in self._endpoints.values()), default=math.inf)
        return None if math.isinf(soonest) else soonest
