"""C8: the same seed alone and in random company: how far apart are the latents?

The engine's own core draws: once with nobody else, then again and again while others with random steps, guidance, sizes
and LoRA join and leave at random turns. Compared is what reaches the decoder, in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.environments import prepared
from benchmarks.engine.lora_files import write_loras
from benchmarks.engine.scale import Scale
from benchmarks.report import Row
from bowerbird.contracts import DrawRequest, LoraUse
from bowerbird.engine.backend import Floats, open_backend
from bowerbird.engine.core import EngineCore
from bowerbird.engine.drawing import Engine
from bowerbird.engine.opening import open_engine
from bowerbird.engine.order import Frame, Order
from bowerbird.engine.scheduling.work import Claim
from bowerbird.settings import Settings

TOLERANCE = 1e-4
JOINS, LEAVES = 0.3, 0.1
MOST_GUESTS = 5


class SeenDecoder:
    """The engine's decoder, which remembers the latents that it was last given."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.latents: Floats = np.zeros(0, np.float32)

    def frame(self, latents: Floats, index: int = 0) -> Any:
        """As the decoder's own."""
        self.latents = latents.copy()
        return self._decoder.frame(latents, index)


def measure(scale: Scale) -> Iterator[Row]:
    """C8."""
    with tempfile.TemporaryDirectory() as folder:
        backend = open_backend(Settings(cache=prepared()))
        engine = open_engine(scale.bundle, backend, loras=Path(folder))
        loras = write_loras(Path(folder), engine.bundle) if engine.max_lora_rank else ()
        worst, largest, trials, guests = 0.0, 0.0, 3 if scale.small else 20, 0
        for trial in range(trials):
            rng = np.random.default_rng(trial)
            order = _random_order(engine, rng, loras)
            alone, _ = draw(engine, order, None, loras)
            together, met = draw(engine, order, rng, loras)
            worst, guests = max(worst, float(np.abs(alone - together).max())), guests + met
            largest = max(largest, float(np.abs(alone).max()))
    figure = f"{worst:.1e} (largest latent {largest:.1f})"
    note = f"{trials} pictures, {guests} guests in all, {'with' if loras else 'without'} LoRA, fp32"
    yield Row(
        "C8",
        "same seed alone and in random company",
        "`cpu`",
        f"<= {TOLERANCE:.0e}",
        figure,
        worst <= TOLERANCE,
        note=note,
    )


def draw(engine: Engine, order: Order, rng: np.random.Generator | None, loras: tuple[str, ...]) -> tuple[Floats, int]:
    """The latents of an order's frame, and how many others were there; `rng` None means nobody."""
    seen, before = SeenDecoder(engine.decoder), engine.decoder
    engine.decoder = seen  # type: ignore[assignment]
    core = EngineCore(engine)
    mine = engine.work(order, Claim(deadline=float("inf")))
    core.admit(mine)
    guests: list[Any] = []
    try:
        while True:
            if rng is not None and rng.random() < JOINS and len(list(core.works)) <= MOST_GUESTS:
                guests.append(engine.work(_random_order(engine, rng, loras), Claim(deadline=float("inf"))))
                core.admit(guests[-1])
            if rng is not None and rng.random() < LEAVES and guests:
                core.end(guests[int(rng.integers(len(guests)))])
            for turn in core.turn():
                if turn.error is not None:
                    raise turn.error
                if turn.work is mine and any(isinstance(event, Frame) for event in turn.events):
                    return seen.latents, len(guests)
    finally:
        for work in list(core.works):
            core.end(work)
        engine.decoder = before


def _random_order(engine: Engine, rng: np.random.Generator, loras: tuple[str, ...]) -> Order:
    facts = engine.facts
    lora = [LoraUse(id=loras[int(rng.integers(len(loras)))], weight=0.8)] if loras and rng.random() < 0.5 else []
    request = DrawRequest(
        prompt=("a bird", "a small red bird", "a blue bird")[int(rng.integers(3))],
        size=facts.sizes[int(rng.integers(len(facts.sizes)))],
        steps=int(rng.integers(1, min(9, facts.max_steps + 1))),
        guidance_scale=1.0 if rng.random() < 0.4 else 2.5,
        seed=int(rng.integers(2**62)),
        count=1,
        lora=lora,
    )
    return engine.order(request)
