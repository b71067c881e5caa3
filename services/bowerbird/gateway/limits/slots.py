"""Requests of one tenant at a time, in one replica: the slots that it holds of the tenant's, and those in use.

Pure: the clock is handed in. Slots are leased: a replica that dies, or cannot reach the database, has none after
`LEASE_SECONDS`, and gives back in the background what it does not use.
"""

from __future__ import annotations

import math

LEASE_SECONDS = 10.0
SPARE_PARTS = 8
"""A replica asks for one slot more than it needs now, and this part (1/8) of all."""


class Slots:
    """`held` may be in use at a time until `until` (monotonic); `in_use` are."""

    __slots__ = ("_most_used", "held", "in_use", "quota", "until")

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.held = 0
        self.in_use = 0
        self.until = -math.inf
        self._most_used = 0

    def take(self, now: float) -> bool:
        """Uses a slot if one is free."""
        if now >= self.until or self.in_use >= self.held:
            return False
        self._use()
        return True

    def take_alone(self, part: float) -> bool:
        """Without a ledger: uses a slot if fewer than `part` of the quota are in use here."""
        if self.in_use >= max(1, math.floor(part * self.quota)):
            return False
        self._use()
        return True

    def give_back(self) -> None:
        """A request is answered."""
        self.in_use -= 1

    def wanted(self) -> int:
        """How many to ask for in all, so that one more request can be answered."""
        return min(self.quota, self.in_use + 1 + self.quota // SPARE_PARTS)

    def shrink(self) -> int:
        """Holds from now on only what was in use at a time since this was done last; what is then held.

        At once, before the ledger hears of it: what is given back there must not be used here meanwhile.
        """
        most, self._most_used = self._most_used, self.in_use
        self.held = min(self.held, most)
        return self.held

    def receive(self, held: int, asked_at: float) -> None:
        """What the ledger lets this replica hold, in answer to a question of `asked_at`."""
        self.held, self.until = held, asked_at + LEASE_SECONDS

    def _use(self) -> None:
        self.in_use += 1
        self._most_used = max(self._most_used, self.in_use)
