"""One limit of one tenant in one replica: what was handed out to it, and what of that is not spent.

Pure: the clock (monotonic seconds) is handed in. `has` and `spend` are what a request costs; `want` says what to ask
the ledger for, `receive` takes its answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bowerbird.gateway.identity.tiers import REQUESTS, Limit

PARTS = 8
"""A share is at most this part of what is left of the window (1/8)."""
_NONE, _ALONE = -1, -2
"""Numbers of no window: none yet, and one that this replica made for itself."""
LOW_PART = 0.25
"""Of the last hand-out: below it more is asked for before anybody has to wait for it."""
PACE_SECONDS = 2.0
"""A share is at most what is spent in so long, at the pace since the last hand-out: whoever asks seldom takes little
from the others, and a replica that dies takes little with it."""
SHORTEST_SECONDS = 0.01
"""That a pace is reckoned over."""


@dataclass(frozen=True, slots=True)
class Want:
    """What to ask for: `wanted` if there is so much, nothing at all unless there is `needed`."""

    limit: Limit
    wanted: float
    needed: float
    ahead: int = 0
    """0: of the present window; 1: of the next one."""


@dataclass(frozen=True, slots=True)
class HandOut:
    """The ledger's answer."""

    number: int
    granted: float
    left: float
    """Of the window, for everybody, after this."""
    seconds: float
    """Until the window ends."""


class Share:
    """What this replica may spend in the present window, and perhaps has of the next one already."""

    __slots__ = (
        *("_ahead", "_last", "_number", "_received_at", "_since", "_spent"),
        *("label", "left", "limit", "tokens", "until"),
    )

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.label = f'"{limit.name}";r='
        """How a header's item about it begins."""
        self.tokens = 0.0
        self.left: float | None = None
        """What the ledger has left of the window, at most; None where that is not known."""
        self.until = -math.inf
        self._number = _NONE
        self._last = 0.0
        self._spent = 0.0
        """In the present window."""
        self._since = 0.0
        """Since the last hand-out, at `_received_at`."""
        self._received_at = -math.inf
        self._ahead: HandOut | None = None

    def has(self, amount: float, now: float) -> bool:
        """Whether so much can be spent now."""
        if now >= self.until:
            self._turn(now)
        return self.tokens >= amount

    def spend(self, amount: float) -> None:
        """Spends what `has` said is there."""
        self.tokens -= amount
        self._spent += amount
        self._since += amount

    def hopeless(self, amount: float) -> bool:
        """Whether so much cannot be had any more in this window, whoever is asked; after `has`."""
        return self.left is not None and self.tokens + self.left < amount

    def retry_after(self, now: float) -> float:
        """Seconds until the next window; after `has`."""
        return max(0.0, self.until - now)

    def want(self, amount: float, now: float) -> Want:
        """What to ask for so that `amount` can be spent; after `has` said no."""
        needed = amount - self.tokens
        return Want(self.limit, max(needed, self._portion(now)), needed)

    def top_up(self, now: float) -> list[Want]:
        """What to ask for while nobody waits: more of this window before it is used up, and some of the next one."""
        wants: list[Want] = []
        if now >= self.until or not self._spent or self._number == _ALONE:
            return wants
        if self.tokens < LOW_PART * self._last and self.left:
            wants.append(Want(self.limit, self._portion(now), 0.0))
        if self._ahead is None and self.until - now < min(0.5 * self.limit.seconds, 1.0):
            likely = min(self._spent, self.limit.quota / PARTS)
            wants.append(Want(self.limit, self._whole(likely), 0.0, ahead=1))
        return wants

    def receive(self, out: HandOut, asked_at: float, now: float) -> None:
        """Takes what the ledger handed out, in answer to what was asked at `asked_at`.

        The window's end is reckoned from before the question, so that it comes early here by the time an answer takes,
        and nothing is spent after its window.
        """
        if out.number > self._number and now < self.until and self._number != _ALONE:
            self._ahead = out
            return
        self._since, self._received_at = 0.0, now
        if out.number > self._number:
            self._begin(out, asked_at + out.seconds)
        elif out.number == self._number:
            self.tokens += out.granted
            self.left, self.until, self._last = out.left, asked_at + out.seconds, out.granted

    def grant_alone(self, part: float, now: float) -> None:
        """Without a ledger: `part` of the quota once in each window, whose bounds are then this machine's."""
        if now < self.until and self._number == _ALONE:
            return
        allowed = part * self.limit.quota
        if self.limit.unit == REQUESTS:
            allowed = max(1.0, math.floor(allowed))
        self._number, self._ahead, self.left = _ALONE, None, None
        self.tokens, self.until, self._spent = allowed, now + self.limit.seconds, 0.0

    def remaining(self) -> float:
        """What can still be had in this window, as far as is known here."""
        if self._number == _ALONE:
            return self.tokens
        if self.left is None:
            return self.limit.quota
        left = self.tokens + self.left
        return left if left < self.limit.quota else self.limit.quota

    def _turn(self, now: float) -> None:
        """The window is over."""
        ahead, self._ahead = self._ahead, None
        end = self.until + self.limit.seconds
        self.tokens, self.left, self._last = 0.0, None, 0.0
        if ahead is not None and now < end:
            self._begin(ahead, end)
        elif now >= end:
            self._spent = 0.0

    def _begin(self, out: HandOut, until: float) -> None:
        self._number, self.until = out.number, until
        self.tokens, self.left, self._last = out.granted, out.left, out.granted
        self._spent = 0.0

    def _portion(self, now: float) -> float:
        pace = self._since / max(now - self._received_at, SHORTEST_SECONDS)
        left = self.limit.quota if self.left is None else self.left
        return self._whole(min(left / PARTS, pace * PACE_SECONDS))

    def _whole(self, amount: float) -> float:
        return float(math.ceil(amount)) if self.limit.unit == REQUESTS else amount
