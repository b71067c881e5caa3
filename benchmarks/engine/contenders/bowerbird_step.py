"""Ours: denoiser steps of a bundle by a backend. Spec {"bundle", "backend", "cache"}; question {"rows", "steps"}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from protocol import Answer, serve, timed

from bowerbird.engine.backend import open_backend
from bowerbird.engine.bundle import Bundle
from bowerbird.settings import Settings


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """Loads the denoiser as the engine does."""
    bundle = Bundle.open(Path(spec["bundle"]))
    backend = open_backend(Settings(backend=spec["backend"], cache=Path(spec["cache"])))
    part = bundle.part("denoiser")
    session = backend.load(bundle.path(part.graph), rowwise=True, key=bundle.part_digest("denoiser"))
    side = bundle.drawing.latents.shape(bundle.drawing.sizes[0])
    tokens = bundle.tokenizer.length

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        rows = question["rows"]
        rng = np.random.default_rng(0)
        given = {"sample": (rows, *side), "states": (rows, tokens)}
        inputs: dict[str, Any] = {}
        for port in part.inputs:
            shape = (*given.get(port.name, (rows,)), *port.shape[len(given.get(port.name, (rows,))) :])
            inputs[port.name] = rng.standard_normal([int(each) for each in shape]).astype(np.float32)
        inputs["timestep"] = np.full(rows, 500, np.float32)
        seconds = timed(lambda: [session.run(inputs) for _ in range(question["steps"])])
        return {"seconds": seconds / question["steps"]}

    return {"backend": backend.name}, answer


if __name__ == "__main__":
    serve(prepare)
