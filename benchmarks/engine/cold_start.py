"""C9: from the start of a process to its first picture in the caller's hands.

Our service against a diffusers worker with the same weights in the same shell (a BentoML service that loads in its
constructor), so that what differs is the engine; beside it a bare diffusers script without any server. Fledgling, 20
steps, guided. Files are in the page cache for all, and ours has prepared its graphs on this machine before, as a worker
has whose node has run one.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from benchmarks.engine import models
from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import PeerMissing, prepared, python_of
from benchmarks.engine.scale import Scale
from benchmarks.engine.server import bentoml_command, free_port, serving, text_to_image
from benchmarks.report import Row
from bowerbird.engine.bundle import Bundle

WHAT = "process start -> first picture"


def measure(scale: Scale) -> Iterator[Row]:
    """C9."""
    facts = Bundle.open(scale.bundle).drawing
    asked = {"prompt": "a flamingo standing in autumn", "guidance_scale": 2.5, "seed": 3}
    asked["steps"] = min(20, facts.max_steps)

    def ours() -> float:
        begin = time.perf_counter()
        with text_to_image(scale.bundle, cache=str(prepared())) as url:
            request = {**asked, "negative_prompt": None, "count": 1, "size": facts.sizes[0].model_dump()}
            post(f"{url}/draw", request)
            return time.perf_counter() - begin

    if scale.small:
        yield Row("C9", WHAT, "bowerbird alone", "", f"{take_turns({'': ours}, 1)['']:.2f} s")
        return
    checkpoint, python = models.fledgling(scale.bundle).checkpoint, python_of("diffusers")

    def theirs() -> float:
        begin, port = time.perf_counter(), free_port()
        command = bentoml_command("diffusers_service:Draw", port, python)
        with serving(command, port, {"PEER_CHECKPOINT": str(checkpoint)}, "/readyz") as url:
            post(f"{url}/draw", asked)
            return time.perf_counter() - begin

    def script() -> float:
        begin = time.perf_counter()
        with Contender("diffusers", "diffusers_picture.py", {"checkpoint": str(checkpoint)}, python) as running:
            running.ask(**asked)
            return time.perf_counter() - begin

    try:
        seconds = take_turns({"ours": ours, "theirs": theirs, "script": script}, scale.rounds)
    except PeerMissing as error:
        yield Row("C9", WHAT, "service against a diffusers worker", "<= 0.4x", note=str(error))
        return
    ratio = seconds["ours"] / seconds["theirs"]
    figure = f"{ratio:.2f}x ({seconds['ours']:.1f} against {seconds['theirs']:.1f} s)"
    note = f"a bare diffusers script, no server: {seconds['script']:.1f} s; median of {scale.rounds}"
    yield Row("C9", WHAT, "service against a diffusers worker", "<= 0.4x", figure, ratio <= 0.4, note=note)


def post(url: str, body: dict[str, Any]) -> bytes:
    """The whole answer; raises on a status that is no success."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 - an address of ours
        raw: bytes = answer.read()
        return raw
