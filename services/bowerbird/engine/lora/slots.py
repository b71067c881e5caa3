"""Which LoRA sits in which slot: a pinned one stays, else the least recently used makes room.

`banks` asks; what a slot holds on the device is its business. Pure bookkeeping, without arrays, locks or time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from bowerbird.errors import StageFull


class Slots:
    """Slots 1 to `count`, each free or taken by a digest; slot 0 is never given away, it means "none"."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._taken: OrderedDict[str, int] = OrderedDict()  # the least recently used first
        self._pins: Counter[int] = Counter()

    def pin(self, digest: str) -> tuple[int, bool]:
        """The digest's slot and whether it is new there; it stays until it was unpinned as often as it was pinned.

        Raises StageFull when every slot is pinned by another.
        """
        new = digest not in self._taken
        if new:
            self._taken[digest] = self._room()
        slot = self._taken[digest]
        self._taken.move_to_end(digest)
        self._pins[slot] += 1
        return slot, new

    def unpin(self, slot: int) -> None:
        """One row less uses it; with the last one it may make room, later than those that were used before."""
        self._pins[slot] -= 1
        self._taken.move_to_end(self._digest(slot))

    def drop(self, slot: int) -> None:
        """Frees a slot whatever it holds: what should have been written there was not."""
        del self._pins[slot]
        del self._taken[self._digest(slot)]

    def _room(self) -> int:
        free = set(range(1, self.count + 1)) - set(self._taken.values())
        if free:
            return min(free)
        for digest, slot in self._taken.items():
            if not self._pins[slot]:
                del self._taken[digest]
                return slot
        raise StageFull(f"All {self.count} LoRA slots are in use.", retry_after_seconds=1)

    def _digest(self, slot: int) -> str:
        return next(digest for digest, taken in self._taken.items() if taken == slot)
