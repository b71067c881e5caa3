"""How many rows a batch may have: half as many when memory ran out, twice as many again when it sufficed for long.

`core` reads `rows` and tells how batches ended. Memory runs out for what passes (another process on the device, a size
that nobody asks for any more, a fragmented arena) as often as for what stays, and nothing says which. So after PATIENCE
batches as large as they may be have gone through, twice as many rows are tried, never more than at the start. A trial
that fails costs about two batches (the one that failed, and its groups one by one): with a patience of 200, 1 % of the
time. Each failed trial doubles the patience, up to MOST_PATIENCE fold, until the start's ceiling has held: memory that
stays short costs next to nothing. It is TCP's way with a link whose width it cannot know (Chiu and Jain, "Analysis of
the increase and decrease algorithms for congestion avoidance", 1989), but rows grow by doubling, because graphs and
engines are made for powers of two (`backends/buckets.py`): a batch of five costs and takes what one of eight does.

Pure bookkeeping, without time: a service that rests learns nothing of its memory.
"""

from __future__ import annotations

PATIENCE = 200
"""Full batches that must go through before more rows are tried."""

MOST_PATIENCE = 16
"""Times the patience that failed trials may add up to."""


class BatchCeiling:
    """`rows` is the largest batch now: at most what it was at the start, at least one."""

    def __init__(self, rows: int, patience: int = PATIENCE) -> None:
        self.rows = rows
        self._start = rows
        self._least_patience = self._patience = patience
        self._held = 0
        self._raised = False

    def exceeded(self, rows: int) -> None:
        """A batch of so many rows had no memory."""
        if self._raised:
            self._patience = min(MOST_PATIENCE * self._least_patience, 2 * self._patience)
        self.rows = max(1, min(self.rows, rows) // 2)
        self._held, self._raised = 0, False

    def held(self, rows: int, more: int) -> bool:
        """A batch of so many rows went through; `more` would have been the next group's. True when the ceiling rose."""
        if rows + more <= self.rows:
            return False  # a batch that was not full proves nothing
        self._held += 1
        if self._held < self._patience:
            return False
        self._held, self._raised = 0, self.rows < self._start
        if not self._raised:
            self._patience = self._least_patience
            return False
        self.rows = min(self._start, 2 * self.rows)
        return True
