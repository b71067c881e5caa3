"""Peer: clips by diffusers' AnimateDiff, eager. Spec {"checkpoint"}; questions as `bowerbird_clip.py` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from diffusers_model import Model
from protocol import Answer, serve, timed


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """Loads everything."""
    model = Model(Path(spec["checkpoint"]))
    model.load_the_rest()

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        keep = question.pop("keep", None)
        drawn: list[Any] = []
        seconds = timed(lambda: drawn.append(model.clip(**question)))
        if keep:
            np.save(keep, drawn[0])
        return {"seconds": seconds}

    return {}, answer


if __name__ == "__main__":
    serve(prepare)
