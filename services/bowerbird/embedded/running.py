"""What `bowerbird doctor` asks a running stack: is it there, are its stages, how fast does it draw?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx2

from bowerbird.client import Client
from bowerbird.embedded.facts import PortTaken
from bowerbird.embedded.finding import Finding, fail, ok, warn
from bowerbird.embedded.ports import require_free
from bowerbird.embedded.self_check import PROMPT, SEED, TIMEOUT_SECONDS
from bowerbird.errors import BowerbirdError
from bowerbird.settings import Settings

ADDRESS_FILE = "gateway.json"
"""The gateway writes its address into BOWERBIRD_HOME while it listens."""
UP = "Type `make up` (or `bowerbird up`) in another terminal."


def running_gateway(settings: Settings) -> str | None:
    """The address of the gateway that works in this home; None when none does."""
    try:
        address = json.loads((settings.home / ADDRESS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    url = address.get("url") if isinstance(address, dict) else None
    return url if isinstance(url, str) and _stages(url) is not None else None


def examine_running(settings: Settings) -> Iterator[Finding]:
    """Facts about the stack if one runs in this home, else whether one could."""
    url = running_gateway(settings)
    if url is None:
        yield _port(settings)
        yield warn("gateway", f"none runs in {settings.home}", UP)
        return
    yield ok("gateway", url)
    stages = _stages(url) or {}
    for name, state in stages.items():
        if state == "ready":
            yield ok(name, "ready")
        else:
            yield fail(name, state, f"Its log says why: {settings.home / 'logs' / name}.log")
    if all(state == "ready" for state in stages.values()):
        yield _speed(url, next(iter(sorted(settings.api_keys or settings.admin_keys)), None))


def _port(settings: Settings) -> Finding:
    if settings.port == 0:
        return ok("port", "a free one will be taken")
    try:
        require_free(settings.host, settings.port)
    except PortTaken as error:
        return fail("port", error.message, "")
    return ok("port", f"{settings.port} is free")


def _stages(url: str) -> dict[str, str] | None:
    """State by stage as the gateway sees it; None when no gateway answers."""
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=3.0, trust_env=False)
        return {stage["name"]: stage["state"] for stage in answer.json()["stages"]}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None


def _speed(url: str, key: str | None) -> Finding:
    """Draws one picture, warm, and tells how long a step of it took."""
    begin = time.monotonic()
    try:
        with Client(url, key, timeout_seconds=TIMEOUT_SECONDS) as client:
            [model] = client.models()
            [drawing] = client.draw(PROMPT, seed=SEED, n=1, candidates=1, steps=model.default_steps, cache="fresh")
    except BowerbirdError as error:
        return fail("drawing", error.message, "The services' logs say more.")
    seconds = time.monotonic() - begin
    denoising = drawing.answer.seconds.get("draw.denoise")
    step = "" if denoising is None else f", {denoising * 1000 / model.default_steps:.0f} ms a step"
    return ok("drawing", f"{seconds:.2f} s for {model.sizes[0]} in {model.default_steps} steps{step}")
