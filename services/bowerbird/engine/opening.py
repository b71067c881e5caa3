"""Opening: from a folder to an engine that has drawn once, with the time each phase took.

A service's constructor calls `open_engine`. A cold start is what a user waits for first, so its phases are measured
where they happen: `verify` (digests), `load` (graphs and weights), `warm_up` (first runs, which allocate).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bowerbird.engine.backend import Backend
from bowerbird.engine.bundle import Bundle, unreplaced
from bowerbird.engine.drawing import Engine
from bowerbird.engine.lora.files import MAX_RANK
from bowerbird.engine.lora.shelf import LoraShelf
from bowerbird.engine.memory import LoraRoom, refuse_too_large
from bowerbird.engine.metrics import COLD_START_SECONDS

logger = logging.getLogger(__name__)


def open_engine(
    folder: Path, backend: Backend, *, loras: Path | None = None, lora_slots: int = 8, fixed_batch: bool = False
) -> Engine:
    """A warm engine; see `Engine` for its options.

    Raises BundleInvalid when the folder is not a sound bundle for drawing, or was replaced meanwhile, BundleTooLarge
    when it does not fit here.
    """
    seconds: dict[str, float] = {}
    with _phase("verify", seconds):
        bundle = Bundle.open(folder)
    takes_loras = loras is not None and bool(bundle.manifest.lora)
    rank = MAX_RANK if fixed_batch else LoraShelf(loras, bundle).likely_rank()
    room = LoraRoom(lora_slots, rank) if takes_loras else None
    refuse_too_large(bundle, backend, room)
    with _phase("load", seconds), unreplaced(folder):
        engine = Engine(bundle, backend, loras=loras, lora_slots=lora_slots, fixed_batch=fixed_batch)
    with _phase("warm_up", seconds):
        engine.warm_up()
    facts = {"digest": bundle.digest, "seconds": seconds}
    logger.info("opened %s %s on %s", bundle.manifest.name, bundle.manifest.version, backend.name, extra=facts)
    return engine


@contextmanager
def _phase(name: str, seconds: dict[str, float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - begin, 4)
    COLD_START_SECONDS.labels(name).observe(seconds[name])
