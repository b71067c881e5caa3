"""Ours: clips by the engine alone, no server. Spec {"bundle", "backend", "cache"}.

Question: prompt, steps, guidance_scale, seed, and frames, at most a window (`shared_noise` and `common_mean_from` are
the bundle's own); the answer has the seconds of the clip, and with "keep" it is written there as npy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from protocol import Answer, serve, timed

from bowerbird.contracts import AnimateRequest
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
        keep = question.pop("keep", None)
        question.pop("shared_noise", None)
        question.pop("common_mean_from", None)
        order = engine.animate(AnimateRequest.model_validate({"size": size, "count": 1, **question}))
        frames: list[Any] = []
        seconds = timed(lambda: frames.extend(each.pixels for each in engine.draw(order) if isinstance(each, Frame)))
        if keep:
            np.save(keep, np.stack(frames))
        return {"seconds": seconds}

    return {"backend": backend.name}, answer


if __name__ == "__main__":
    serve(prepare)
