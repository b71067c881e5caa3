"""The plain route as BentoML services: `python bentoml_plain.py Plain|PlainFields PORT`.

`Plain` has a pydantic model in and out, `PlainFields` the fields as parameters and a dict out, as BentoML's
documentation begins. PLAIN_TELEMETRY=1 switches on its own access log, metrics and traces.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from pydantic import BaseModel

TELEMETRY = os.environ.get("PLAIN_TELEMETRY") == "1"
COLLECTOR = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OPTIONS: dict[str, Any] = {"logging": {"access": {"enabled": TELEMETRY}}, "metrics": {"enabled": TELEMETRY}}
if TELEMETRY:
    OPTIONS["tracing"] = {
        "exporter_type": "otlp",
        "sample_rate": 1.0,
        "otlp": {"protocol": "http", "endpoint": f"{COLLECTOR}/v1/traces"},
    }


class Ask(BaseModel):
    """One request."""

    prompt: str
    steps: int
    seed: int


class Answer(BaseModel):
    """Its answer."""

    id: str
    characters: int
    steps: int
    seed: int


@bentoml.service(workers=1, **OPTIONS)
class Plain:
    """Models in and out."""

    @bentoml.api(route="/plain", input_spec=Ask)
    async def plain(self, prompt: str, steps: int, seed: int) -> Answer:
        """No work."""
        return Answer(id="req_1", characters=len(prompt), steps=steps, seed=seed)


@bentoml.service(workers=1, **OPTIONS)
class PlainFields:
    """Fields in, a dict out."""

    @bentoml.api(route="/plain")
    async def plain(self, prompt: str, steps: int, seed: int) -> dict[str, Any]:
        """No work."""
        return {"id": "req_1", "characters": len(prompt), "steps": steps, "seed": seed}


if __name__ == "__main__":
    name, port = sys.argv[1:]
    here = str(Path(__file__).parent)
    serve = ["-m", "bentoml", "serve", "--working-dir", here, "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, *serve, f"bentoml_plain:{name}"])  # noqa: S606 - our own interpreter
