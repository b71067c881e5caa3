"""Results of benchmarks: a table for the reader and JSON with the machine's facts for the record.

Every benchmark ends in `record`. A figure without machine, date and commit cannot be compared with another one.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory in GiB, Python, ONNX Runtime."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    kibibytes = next((int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if "MemTotal" in line), 0)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kibibytes / 2**20, 1),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "onnxruntime": _version("onnxruntime"),
    }


def commit() -> str:
    """The commit that was measured, with `+` when the tree differs from it; `unknown` outside of a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607 - git is on the path of a checkout
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"


def record(name: str, figures: Mapping[str, Any]) -> Path:
    """Writes `results/<name>.json`: the figures, the machine, the date (UTC) and the commit."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    facts = {"machine": machine(), "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), "commit": commit()}
    path.write_text(json.dumps({**facts, "figures": figures}, indent=2) + "\n")
    return path


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table; the first column is text, the others are figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns[:1], title=title)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=120).print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
