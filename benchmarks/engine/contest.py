"""What C6 is played between: contenders with their settings, the bundle that all of them serve, and one trace's play.

Everybody gets the same graphs, tables, tokenizer, LoRA arrays and cores. Capacity is what a loop without any server
sustains on plain sessions over the same mix (contenders/reference_loop.py), so it is nobody's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.contender import Contender
from benchmarks.engine.environments import CONTENDERS, prepared, python_of
from benchmarks.engine.goodput import Ended
from benchmarks.engine.load import Target, ours, peer, plain_body, play
from benchmarks.engine.lora_files import write_lora_feeds, write_loras
from benchmarks.engine.server import bentoml_command, free_port, serving, text_to_image
from benchmarks.engine.trace import Ask, Mix, make_trace
from bowerbird.engine.bundle import Bundle

CORES = str(len(os.sched_getaffinity(0)))
OURS = "bowerbird"
SETTINGS: Mapping[str, Sequence[Mapping[str, str]]] = {
    OURS: ({"slots": "16"}, {"slots": "64"}),
    "BentoML": (
        {"PEER_WORKERS": CORES, "PEER_THREADS": "1", "PEER_MAX_CONCURRENCY": "8"},
        {"PEER_WORKERS": CORES, "PEER_THREADS": "1", "PEER_MAX_CONCURRENCY": "32"},
        {"PEER_WORKERS": "1", "PEER_THREADS": "1", "PEER_CALLERS": CORES, "PEER_MAX_CONCURRENCY": "16"},
    ),
    "LitServe": (
        {"PEER_WORKERS": CORES, "PEER_THREADS": "1"},
        {"PEER_WORKERS": "1", "PEER_THREADS": CORES},
        {"PEER_WORKERS": "1", "PEER_THREADS": CORES, "PEER_BATCH": "4", "PEER_BATCH_SECONDS": "0.02"},
    ),
}
"""Every setting that their documentation offers for such work."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A bundle and LoRAs for it: `loras` as files, `feeds` as the peers' sessions take them; None without LoRAs."""

    bundle: Path
    ids: tuple[str, ...]
    loras: Path | None
    feeds: Path | None


@dataclass(frozen=True, slots=True)
class Planned:
    """One trace: its share of the capacity, its seed, its length."""

    load: float
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests per second that the reference loop sustains, and seconds of a lone step and of the rest, by size."""

    per_second: float
    step_seconds: tuple[float, ...]
    rest_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Contest:
    """Where it takes place, what is asked for, and how much of that is possible at all."""

    arena: Arena
    mix: Mix
    per_second: float

    def play(self, name: str, settings: Mapping[str, str], planned: Planned) -> list[Ended]:
        """One trace against a fresh process; raises PeerMissing when it does not get ready."""
        asks = make_trace(self.mix, planned.seed, planned.load * self.per_second, planned.seconds)
        wrapped = name == "BentoML"
        with _server(self.arena, name, settings) as target:
            # The first pictures warm a service up; nobody judges it by those.
            asyncio.run(play(target, [self._first()] * 2, wrapped=wrapped))
            return asyncio.run(play(target, asks, wrapped=wrapped))

    def _first(self) -> Ask:
        return Ask(0.0, "a bird", self.mix.sizes[0], 1, self.mix.guidance_scale, 1, None, 30.0, False, None)


def arena(bundle_path: Path, folder: Path) -> Arena:
    """LoRAs in `folder`, which is empty, where the bundle has graphs for them; the same ones each time."""
    bundle = Bundle.open(bundle_path)
    loras, feeds = folder / "loras", folder / "feeds"
    loras.mkdir()
    feeds.mkdir()
    ids = write_loras(loras, bundle)
    if not ids:
        return Arena(bundle_path, (), None, None)
    write_lora_feeds(feeds, bundle, loras)
    return Arena(bundle_path, ids, loras, feeds)


def mix_of(place: Arena, capacity: Capacity) -> Mix:
    """What is asked for."""
    facts = Bundle.open(place.bundle).drawing
    return Mix(
        sizes=facts.sizes[:2],
        loras=place.ids,
        guidance_scale=facts.default_guidance_scale,
        step_seconds=capacity.step_seconds,
        rest_seconds=capacity.rest_seconds,
        max_steps=min(30, facts.max_steps),
    )


def measure_capacity(place: Arena, seconds: float) -> Capacity:
    """By the reference loop; `seconds` is the length of the sample at one request a second."""
    facts = Bundle.open(place.bundle).drawing
    few, many = 1, min(11, facts.max_steps)
    step, rest = [], []
    spec = {"bundle": str(place.bundle), "loras": str(place.feeds) if place.feeds else None}
    with Contender("reference loop", "reference_loop.py", spec) as reference:
        for size in facts.sizes[:2]:
            ask = Ask(0.0, "a bird", size, few, facts.default_guidance_scale, 1, None, 0.0, False, None)
            request = plain_body(ask)
            alone = [min(reference.ask(alone=request | {"steps": n})["seconds"] for _ in range(4)) for n in (few, many)]
            step.append(max(1e-5, (alone[1] - alone[0]) / (many - few)))
            rest.append(max(1e-5, alone[0] - step[-1]))
        known = Capacity(1.0, tuple(step), tuple(rest))
        sample = make_trace(mix_of(place, known), 7, 1.0, seconds)
        taken = reference.ask(requests=[plain_body(ask) for ask in sample])["seconds"]
    return Capacity(len(sample) / taken, known.step_seconds, known.rest_seconds)


@contextmanager
def _server(place: Arena, name: str, settings: Mapping[str, str]) -> Iterator[Target]:
    if name == OURS:
        loras = {} if place.loras is None else {"loras": str(place.loras)}
        with text_to_image(place.bundle, cache=str(prepared()), **loras, **settings) as url:
            yield ours(url)
        return
    environment = {"PEER_BUNDLE": str(place.bundle), **settings}
    environment |= {} if place.feeds is None else {"PEER_LORAS": str(place.feeds)}
    with _peer_process(name, environment) as url:
        yield peer(name, url)


def _peer_process(name: str, environment: Mapping[str, str]) -> AbstractContextManager[str]:
    port, python = free_port(), python_of(name.lower())
    if name == "BentoML":
        return serving(bentoml_command("bentoml_service:Draw", port, python), port, environment, "/readyz")
    command = [str(python), str(CONTENDERS / "litserve_server.py"), str(port)]
    return serving(command, port, environment, "/health")
