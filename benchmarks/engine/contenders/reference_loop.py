"""The reference loop: as many one-thread callers as cores on shared plain sessions, no server; C6's measure of
capacity.

Question: {"requests": [...]} -> {"seconds"} for all of them; {"alone": request} -> {"seconds"} of one.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from protocol import Answer, serve, timed
from sessions import Sessions


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """Loads the bundle."""
    loras = Path(spec["loras"]) if spec["loras"] else None
    sessions = Sessions(Path(spec["bundle"]), 1, loras)
    callers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        if "alone" in question:
            return {"seconds": timed(lambda: sessions.draw(question["alone"]))}
        return {"seconds": timed(lambda: list(callers.map(sessions.draw, question["requests"])))}

    return {}, answer


if __name__ == "__main__":
    serve(prepare)
