"""Rows of a benchmark as a Markdown table and as JSON.

A row that was not measured says why; a goal holds, does not hold, or is not known: never is a missing figure a good
one. Standard library only, since a GPU machine may have nothing but torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NOT_MEASURED = "not yet measured"


@dataclass(frozen=True)
class Row:
    """One line of the table; `figure` None means that nothing was measured, and `note` says why."""

    id: str
    what: str
    backend: str
    goal: str
    figure: str | None = None
    holds: bool | None = None
    gpu_seconds_per_image: float | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def markdown(rows: Sequence[Row]) -> str:
    """The table as it stands in the README; GPU-seconds only where a row has them."""
    columns = ["id", "what", "by", "goal", "measured", "holds"]
    on_gpu = any(row.gpu_seconds_per_image is not None for row in rows)
    columns += ["GPU-seconds per image"] if on_gpu else []
    lines = [_line(columns), _line(["---"] * len(columns))]
    for row in rows:
        figure = row.figure or NOT_MEASURED
        cells = [row.id, row.what, row.backend, row.goal, figure + (f" ({row.note})" if row.note else "")]
        seconds = "" if row.gpu_seconds_per_image is None else f"{row.gpu_seconds_per_image:.4f}"
        lines.append(_line([*cells, verdict(row.holds), *([seconds] if on_gpu else [])]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def verdict(holds: bool | None) -> str:
    """`yes`, `no`, or nothing where there is no goal or no figure."""
    return {True: "yes", False: "no", None: ""}[holds]


def write(path: Path, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """JSON beside the other results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
