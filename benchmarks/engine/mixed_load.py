"""C6: mixed load: our text-to-image service, a plain BentoML service and LitServe around the same ONNX graphs.

Everybody gets the same seeded traces (trace.py), the same graphs, tables, tokenizer and LoRA arrays, the same two
cores, and is told nothing beside the request; ours is told the deadline, since it can be. Capacity is what a loop
without any server sustains on plain sessions over the same mix (contenders/reference_loop.py), so it is nobody's own.
Each contender first plays a short trace at 110 % with every setting that its documentation offers for such work
(SETTINGS), and goes into the contest with the one of the best goodput. Then they take turns, a fresh process each
time.

No gateway stands in front, which would hold what does not fit: every service admits by its own bound.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine import models
from benchmarks.engine.contender import Contender
from benchmarks.engine.environments import CONTENDERS, PeerMissing, prepared, python_of
from benchmarks.engine.goodput import Score, score
from benchmarks.engine.load import Target, ours, peer, plain_body, play
from benchmarks.engine.lora_files import write_lora_feeds, write_loras
from benchmarks.engine.scale import Scale
from benchmarks.engine.server import bentoml_command, free_port, serving, text_to_image
from benchmarks.engine.trace import Ask, Mix, make_trace
from benchmarks.report import Row
from bowerbird.engine.bundle import Bundle

CORES = str(len(os.sched_getaffinity(0)))
LOADS = (0.5, 0.8, 1.1)
ROUNDS = 2
SMALL_PER_SECOND = 15.0
SETTINGS: Mapping[str, Sequence[Mapping[str, str]]] = {
    "bowerbird": ({"slots": "16"}, {"slots": "64"}),
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


@dataclass(frozen=True, slots=True)
class Planned:
    """One trace: its share of the capacity, its seed, its length."""

    load: float
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Contest:
    """What is served, and what is asked for."""

    bundle: Path
    loras: Path | None
    feeds: Path | None
    mix: Mix
    per_second: float


def measure(scale: Scale) -> Iterator[Row]:
    """C6."""
    with tempfile.TemporaryDirectory() as folder:
        contest = _prepare(scale, Path(folder))
        if scale.small:
            result = _play(contest, "bowerbird", SETTINGS["bowerbird"][1], Planned(0.8, 1, 3.0))
            yield _line("bowerbird", 0.8, [result])
            return
        chosen = dict(_choose(contest, scale))
        results: dict[tuple[str, float], list[Score]] = {}
        for load in LOADS:
            for turn in range(ROUNDS):
                for name, settings in chosen.items():
                    played = _play(contest, name, settings, Planned(load, 100 + turn, scale.load_seconds))
                    results.setdefault((name, load), []).append(played)
            yield from (_line(name, load, results[name, load], chosen[name]) for name in chosen)
        yield from _verdicts(results, [name for name in chosen if name != "bowerbird"])


def _prepare(scale: Scale, folder: Path) -> Contest:
    """Two sizes where they can be compiled, LoRAs where the bundle has graphs for them, and the capacity."""
    bundle_path = scale.bundle if scale.small else models.two_sizes(models.fledgling(scale.bundle))
    bundle = Bundle.open(bundle_path)
    loras, feeds = folder / "loras", folder / "feeds"
    loras.mkdir()
    feeds.mkdir()
    ids = write_loras(loras, bundle)
    if ids:
        write_lora_feeds(feeds, bundle, loras)
    spec = {"bundle": str(bundle_path), "loras": str(feeds) if ids else None}
    with Contender("reference loop", "reference_loop.py", spec) as reference:
        mix = _mix(bundle, ids, reference)
        sample = make_trace(mix, 7, 1.0, 8.0 if scale.small else 40.0)
        seconds = reference.ask(requests=[plain_body(ask) for ask in sample])["seconds"]
    per_second = len(sample) / seconds
    if scale.small:  # a miniature computes faster than any server answers
        per_second = min(per_second, SMALL_PER_SECOND)
    return Contest(bundle_path, loras if ids else None, feeds if ids else None, mix, per_second)


def _mix(bundle: Bundle, loras: Sequence[str], reference: Contender) -> Mix:
    facts = bundle.drawing
    sizes = facts.sizes[:2]
    few, many = 1, min(11, facts.max_steps)
    step, rest = [], []
    for size in sizes:
        ask = Ask(0.0, "a bird", size, few, facts.default_guidance_scale, 1, None, 0.0, False, None)
        request = plain_body(ask)
        alone = [min(reference.ask(alone=request | {"steps": n})["seconds"] for _ in range(4)) for n in (few, many)]
        step.append(max(1e-5, (alone[1] - alone[0]) / (many - few)))
        rest.append(max(1e-5, alone[0] - step[-1]))
    return Mix(sizes, loras, facts.default_guidance_scale, step, rest, min(30, facts.max_steps))


def _choose(contest: Contest, scale: Scale) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each contender's best settings; one that cannot be had is left out, and the table will lack it."""
    trial = Planned(LOADS[-1], 1, scale.load_seconds / 3)
    for name, offered in SETTINGS.items():
        try:
            played = [_play(contest, name, each, trial) for each in offered]
        except PeerMissing as error:
            if name == "bowerbird":
                raise
            print(f"C6 without {name}: {error}", file=sys.stderr)
            continue
        best = max(range(len(offered)), key=lambda index: played[index].goodput)
        yield name, offered[best]


def _play(contest: Contest, name: str, settings: Mapping[str, str], planned: Planned) -> Score:
    asks = make_trace(contest.mix, planned.seed, planned.load * contest.per_second, planned.seconds)
    with _server(contest, name, settings) as target:
        # The first pictures warm a service up; nobody judges it by those.
        asyncio.run(play(target, [_first(contest.mix)] * 2, wrapped=name == "BentoML"))
        return score(asyncio.run(play(target, asks, wrapped=name == "BentoML")), planned.seconds)


def _first(mix: Mix) -> Ask:
    return Ask(0.0, "a bird", mix.sizes[0], 1, mix.guidance_scale, 1, None, 30.0, False, None)


@contextmanager
def _server(contest: Contest, name: str, settings: Mapping[str, str]) -> Iterator[Target]:
    if name == "bowerbird":
        loras = {} if contest.loras is None else {"loras": str(contest.loras)}
        with text_to_image(contest.bundle, cache=str(prepared()), **loras, **settings) as url:
            yield ours(url)
        return
    environment = {"PEER_BUNDLE": str(contest.bundle), **settings}
    environment |= {} if contest.feeds is None else {"PEER_LORAS": str(contest.feeds)}
    with _peer_process(name, environment) as url:
        yield peer(name, url)


def _peer_process(name: str, environment: Mapping[str, str]) -> AbstractContextManager[str]:
    port, python = free_port(), python_of(name.lower())
    if name == "BentoML":
        return serving(bentoml_command("bentoml_service:Draw", port, python), port, environment, "/readyz")
    command = [str(python), str(CONTENDERS / "litserve_server.py"), str(port)]
    return serving(command, port, environment, "/health")


def _line(name: str, load: float, scores: Sequence[Score], settings: Mapping[str, str] = {}) -> Row:
    figure = (
        f"goodput {_median(scores, 'goodput'):.2f}/s, p50 {_median(scores, 'p50_seconds'):.2f} s, "
        f"p99 {_median(scores, 'p99_seconds'):.2f} s"
    )
    counts = {
        key: sum(getattr(each, key) for each in scores) for key in ("asked", "in_time", "late", "refused", "failed")
    }
    words = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in counts.items())
    note = f"{words}; {len(scores)} traces" + "".join(f"; {key.lower()} {value}" for key, value in settings.items())
    details = {"scores": [each.facts() for each in scores]}
    return Row("C6", f"mixed load at {100 * load:.0f} %", name, "", figure, note=note, details=details)


def _verdicts(results: Mapping[tuple[str, float], Sequence[Score]], peers: Sequence[str]) -> Iterator[Row]:
    """Against the better of the peers."""
    goals = ("goodput within deadline >= 1.5x at 110 %", "p99 <= 0.5x at 80 %", "no worse at 50 %")
    if not peers:
        yield from (Row("C6", goal, "against the better peer", goal, note="no peer could be had") for goal in goals)
        return

    def of(name: str, load: float, what: str) -> float:
        return _median(results[name, load], what)

    gain = of("bowerbird", 1.1, "goodput") / max(1e-9, *(of(name, 1.1, "goodput") for name in peers))
    yield Row("C6", "goodput at 110 %", "against the better peer", goals[0], f"{gain:.2f}x", gain >= 1.5)
    tail = of("bowerbird", 0.8, "p99_seconds") / min(of(name, 0.8, "p99_seconds") for name in peers)
    yield Row("C6", "p99 at 80 %", "against the better peer", goals[1], f"{tail:.2f}x", tail <= 0.5)
    tail = of("bowerbird", 0.5, "p99_seconds") / min(of(name, 0.5, "p99_seconds") for name in peers)
    gain = of("bowerbird", 0.5, "goodput") / max(1e-9, *(of(name, 0.5, "goodput") for name in peers))
    figure = f"goodput {gain:.2f}x, p99 {tail:.2f}x"
    yield Row("C6", "at 50 %", "against the better peer", goals[2], figure, gain >= 0.98 and tail <= 1.05)


def _median(scores: Sequence[Score], name: str) -> float:
    return float(statistics.median(getattr(each, name) for each in scores))
