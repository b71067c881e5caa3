"""What a person sees of a training run: a progress bar, curves in MLflow on SQLite, sample sheets as PNG.

Called by every stage. Nothing here decides anything; a run without a terminal prints a line now and then instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_SECONDS = 30.0


class Monitor:
    """Counts one stage's steps on a bar and sends its figures to MLflow (and to the log, every half minute)."""

    def __init__(self, stage: str, total: int, folder: Path) -> None:
        import mlflow

        self.stage = stage
        self.total = total
        self._console = Console()
        self._mlflow = mlflow
        self._last_line = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        mlflow.set_experiment("fledgling")
        self._columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    @contextmanager
    def watching(self, start: int) -> Iterator[Monitor]:
        """Show the bar and keep an MLflow run open, from step `start`."""
        bar = Progress(*self._columns, console=self._console, disable=not self._console.is_terminal)
        with self._mlflow.start_run(run_name=self.stage), bar:
            self._bar, self._task = bar, bar.add_task(self.stage, total=self.total, completed=start)
            self._began, self._start = time.monotonic(), start
            yield self

    def step(self, step: int, loss: float) -> None:
        """Tell that `step` steps are done; `loss` is the last one's."""
        self._bar.update(self._task, completed=step, description=f"{self.stage} loss {loss:.4f}")
        now = time.monotonic()
        if now - self._last_line > _LINE_EVERY_SECONDS:
            pace = (now - self._began) / max(1, step - self._start)
            self._last_line = now
            self.figures(step, {"loss": loss, "seconds_a_step": pace})

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Record named figures at a step."""
        self._mlflow.log_metrics({f"{self.stage}/{name}": value for name, value in values.items()}, step=step)
        if not self._console.is_terminal:
            told = " ".join(f"{name}={value:.4g}" for name, value in values.items())
            print(f"{time.strftime('%H:%M:%S')} {self.stage} {step}/{self.total} {told}", flush=True)


def write_sheet(path: Path, pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], columns: int) -> None:
    """Write pictures (uint8 [h, w, 3] RGB, all of one size) as one PNG, `columns` to a row, the last row filled up."""
    missing = -len(pictures) % columns
    pictures = [*pictures, *[np.full_like(pictures[0], 255)] * missing]
    rows = [np.concatenate(list(pictures[i : i + columns]), 1) for i in range(0, len(pictures), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("." + path.name)
    cv2.imwrite(str(partial), np.concatenate(rows, 0)[:, :, ::-1])
    partial.replace(path)
