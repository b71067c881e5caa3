"""Peer of C9: the checkpoint by diffusers in the shell that ours uses, `bentoml serve diffusers_service:Draw`."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 600}, logging={"access": {"enabled": False}})
class Draw:
    """Loads in its constructor, as ours does."""

    def __init__(self) -> None:
        from diffusers_model import Model

        self.model = Model(Path(os.environ["PEER_CHECKPOINT"]))
        self.model.load_the_rest()

    @bentoml.api(route="/draw")
    def draw(self, prompt: str, steps: int, guidance_scale: float, seed: int) -> bytes:
        """The picture as raw bytes."""
        drawn: bytes = self.model.picture(prompt, steps, guidance_scale, seed).tobytes()
        return drawn
