"""Ours: whole pictures by the engine alone, no server. Spec {"bundle", "backend", "cache"}.

Question: a DrawRequest's fields and "pictures", how many to draw one after the other with seeds counting up; the answer
has seconds of one picture, and with "keep" the first one is written there as npy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from protocol import Answer, serve, timed

from bowerbird.contracts import DrawRequest
from bowerbird.engine.backend import open_backend
from bowerbird.engine.drawing import Frame
from bowerbird.engine.opening import open_engine
from bowerbird.settings import Settings


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """A warm engine."""
    backend = open_backend(Settings(backend=spec["backend"], cache=Path(spec["cache"])))
    engine = open_engine(Path(spec["bundle"]), backend)
    size = engine.facts.sizes[0].model_dump()

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        keep, pictures = question.pop("keep", None), question.pop("pictures", 1)
        fields = {"negative_prompt": None, "size": size, "count": 1, **question}
        frames: list[Any] = []

        def draw() -> None:
            for index in range(pictures):
                order = engine.order(DrawRequest.model_validate({**fields, "seed": fields["seed"] + index}))
                frames.extend(event.pixels for event in engine.draw(order) if isinstance(event, Frame))

        seconds = timed(draw) / pictures
        if keep:
            np.save(keep, frames[0])
        return {"seconds": seconds}

    return {"backend": backend.name}, answer


if __name__ == "__main__":
    serve(prepare)
