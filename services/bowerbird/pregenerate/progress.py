"""How far a run is: a bar for whoever watches, a line now and then for a log.

What is left is estimated from the last minute alone: rows that are stored already go by a hundred times faster than
those that are drawn, and say nothing about them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_OF_ESTIMATE = 60.0
SECONDS_BETWEEN_LINES = 15.0


@dataclass(slots=True)
class Tally:
    """Rows by what became of them."""

    rows: int
    """Of the table, as counted at the beginning."""
    drawn: int = 0
    fresh: int = 0
    """Stored before, and not drawn again."""
    refused: int = 0
    """They must change."""
    failed: int = 0
    """Something broke over them."""
    contradicted: int = 0
    """Of those that are there, the ones that show another species, says the check."""

    @property
    def done(self) -> int:
        """Rows that are through."""
        return self.drawn + self.fresh + self.refused + self.failed

    def __str__(self) -> str:
        """For people."""
        words = f"{self.done} of {self.rows}: {self.drawn} drawn, {self.fresh} fresh"
        for count, what in ((self.refused, "refused"), (self.failed, "failed"), (self.contradicted, "contradicted")):
            words += f", {count} {what}" if count else ""
        return words


class RunProgress:
    """Shows a tally while it grows."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=SECONDS_OF_ESTIMATE,
        )
        self._task = self._bar.add_task("rows", total=tally.rows, said="")
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        """Itself, shown."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Shown no more."""
        self._bar.stop()

    def moved(self) -> None:
        """One more row is through."""
        tally = self._tally
        self._bar.update(self._task, completed=tally.done, said=f"{tally.drawn} drawn, {tally.fresh} fresh")
        if self._bar.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self.say(f"{tally}; {self._left()}")

    def say(self, sentence: str) -> None:
        """A line above the bar, or in the log."""
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        seconds = self._bar.tasks[0].time_remaining
        if seconds is None:
            return "how long it takes is not known yet"
        minutes, seconds = divmod(int(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
