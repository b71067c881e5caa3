"""C7: what loading a bundle's sessions takes in this process. Spec {"bundle", "naive", "cache"}.

Ours loads through the backend, with its cache of prepared graphs; `naive` is `onnxruntime.InferenceSession(path)`.
The question {"step": true} runs the denoiser once and answers with the private memory afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from memory import private_megabytes
from protocol import Answer, serve, timed

from bowerbird.engine.backend import open_backend
from bowerbird.engine.bundle import Bundle
from bowerbird.settings import Settings

ROLES = ("text_encoder", "denoiser", "decoder")


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """Measures before and after."""
    bundle = Bundle.open(Path(spec["bundle"]))
    backend = open_backend(Settings(cache=Path(spec["cache"])))
    sessions: dict[str, Any] = {}

    def load() -> None:
        for role in ROLES:
            path = bundle.path(bundle.part(role).graph)
            if spec["naive"]:
                sessions[role] = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            else:
                key = bundle.part_digest(role)
                sessions[role] = backend.load(path, rowwise=role == "denoiser", key=key)

    before = private_megabytes()
    seconds = timed(load)
    facts = {"load_seconds": seconds, "private_mb": private_megabytes() - before}

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        inputs = {}
        for port in bundle.part("denoiser").inputs:
            latents = bundle.drawing.latents.shape(bundle.drawing.sizes[0])
            named = port.shape[1:]
            sides = {"sample": latents, "states": (bundle.tokenizer.length, *named[1:])}
            inputs[port.name] = np.zeros((1, *(int(each) for each in sides.get(port.name, named))), np.float32)
        denoiser = sessions["denoiser"]
        _ = denoiser.run(None, inputs) if spec["naive"] else denoiser.run(inputs)
        return {"private_mb": private_megabytes() - before}

    return facts, answer


if __name__ == "__main__":
    serve(prepare)
