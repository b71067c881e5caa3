"""A plain BentoML service around the bundle's ONNX sessions: `bentoml serve bentoml_service:Draw`.

As BentoML's documentation puts a CPU-bound model: a synchronous API (BentoML runs it in its threads), `workers` for
parallelism, `traffic.max_concurrency` against overload, the access log off, uvloop and httptools installed. Its
adaptive batching takes one argument and no grouping key, so requests of different sizes, steps and LoRAs cannot share
a batch and it stays off. What is tried is in PEER_WORKERS, PEER_THREADS and PEER_MAX_CONCURRENCY.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import bentoml
from pydantic import BaseModel
from sessions import Sessions

WORKERS, THREADS = int(os.environ["PEER_WORKERS"]), int(os.environ["PEER_THREADS"])
CALLERS = int(os.environ.get("PEER_CALLERS", "1"))


class Ask(BaseModel):
    """One request, as sessions.py has it."""

    prompt: str
    steps: int
    width: int
    height: int
    guidance_scale: float
    seed: int
    lora: Optional[str] = None  # noqa: UP045 - BentoML evaluates it where `|` is not understood everywhere


@bentoml.service(
    workers=WORKERS,
    threads=CALLERS,
    traffic={"timeout": 600, "max_concurrency": int(os.environ["PEER_MAX_CONCURRENCY"])},
    logging={"access": {"enabled": False}},
)
class Draw:
    """One worker process."""

    def __init__(self) -> None:
        loras = os.environ.get("PEER_LORAS")
        self.sessions = Sessions(Path(os.environ["PEER_BUNDLE"]), THREADS, Path(loras) if loras else None)

    @bentoml.api(route="/draw")
    def draw(self, ask: Ask) -> bytes:
        """The picture as raw bytes."""
        return self.sessions.draw(ask.model_dump()).tobytes()
