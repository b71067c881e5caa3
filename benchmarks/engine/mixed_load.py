"""C6: mixed load: our text-to-image service, a plain BentoML service and LitServe around the same ONNX graphs.

Everybody gets the same seeded traces (trace.py) and is told nothing beside the request; ours is told the deadline,
since it can be. Each contender first plays a short trace at 110 % with every setting that its documentation offers for
such work (contest.py), and goes into the contest with the one of the best goodput. Then they take turns, a fresh
process each time. No gateway stands in front, which would hold what does not fit: all admit by their own bound.

How long is long enough: below capacity, when the p99 is more than the slowest of a few, so latencies of a load's traces
are pooled and MIN_COUNTED of them are wanted; `few counted` says where they were fewer. Above capacity, when the queue
has outgrown what anybody waits for: at 110 % with a patience of p seconds that takes p / 0.1, and a trace that ends
before shows a goodput that no service keeps. Hence PLAN. Three quarters of an hour in all, in slices of at most two
and a half minutes that are kept one by one (slices.py): `--minutes 8` stops in time, and the same command goes on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine import models
from benchmarks.engine.contest import OURS, SETTINGS, Capacity, Contest, Planned, arena, measure_capacity, mix_of
from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.goodput import Ended, Outcome, Score, counted, score
from benchmarks.engine.scale import Scale
from benchmarks.engine.slices import Slices
from benchmarks.report import Row
from bowerbird.engine.bundle import digest_of

PLAN: Mapping[float, tuple[int, float]] = {0.5: (2, 1.0), 0.8: (2, 1.0), 1.1: (1, 2.0)}
"""By load: how many traces, and how long each is in `load_seconds`."""
MIN_COUNTED = 100
START_SECONDS, DRAIN_SECONDS = 15.0, 15.0
"""About what a process takes to get ready, and a trace to be answered after its end."""
SMALL_PER_SECOND = 15.0


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one contender's traces at one load; latencies over all of them."""

    pooled: Score
    each: Sequence[Score]
    counted: int


def measure(scale: Scale) -> Iterator[Row]:
    """C6."""
    with tempfile.TemporaryDirectory() as folder:
        if scale.small:
            yield _small(scale, Path(folder))
            return
        bundle = models.two_sizes(models.fledgling(scale.bundle))
        facts = {"bundle": digest_of(bundle / "bundle.json"), "load_seconds": scale.load_seconds}
        slices = Slices("C6", facts, scale.run_seconds)
        place = arena(bundle, Path(folder))
        capacity = Capacity(**slices.get("capacity", lambda: asdict(measure_capacity(place, 40.0)), 60.0))
        contest = Contest(place, mix_of(place, capacity), capacity.per_second)
        chosen = dict(_choose(contest, scale, slices))
        results = {load: _contend(contest, scale, slices, load, chosen) for load in PLAN}
        for load, played in results.items():
            yield from (_line(name, load, played[name], chosen[name]) for name in chosen)
        yield from _verdicts(results)
        slices.forget()


def _small(scale: Scale, folder: Path) -> Row:
    """A miniature computes faster than any server answers, so its capacity is made up."""
    place = arena(scale.bundle, folder)
    capacity = measure_capacity(place, 8.0)
    contest = Contest(place, mix_of(place, capacity), min(capacity.per_second, SMALL_PER_SECOND))
    ended = contest.play(OURS, SETTINGS[OURS][1], Planned(0.8, 1, 3.0))
    return _line(OURS, 0.8, _played([ended], 3.0), {})


def _choose(contest: Contest, scale: Scale, slices: Slices) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each contender's best settings; one that cannot be had is left out, and the table will lack it."""
    trial = Planned(1.1, 1, scale.load_seconds * 2 / 3)
    for name, offered in SETTINGS.items():
        try:
            goodputs = [_play(contest, slices, name, each, trial).pooled.goodput for each in offered]
        except PeerMissing as error:
            if name == OURS:
                raise
            print(f"C6 without {name}: {error}", file=sys.stderr)
            continue
        yield name, offered[max(range(len(offered)), key=goodputs.__getitem__)]


def _contend(
    contest: Contest, scale: Scale, slices: Slices, load: float, chosen: Mapping[str, Mapping[str, str]]
) -> dict[str, Played]:
    turns, length = PLAN[load]
    seconds = length * scale.load_seconds
    ended: dict[str, list[list[Ended]]] = {name: [] for name in chosen}
    for turn in range(turns):
        for name, settings in chosen.items():
            ended[name].append(_ended(contest, slices, name, settings, Planned(load, 100 + turn, seconds)))
    return {name: _played(traces, seconds) for name, traces in ended.items()}


def _play(contest: Contest, slices: Slices, name: str, settings: Mapping[str, str], planned: Planned) -> Played:
    return _played([_ended(contest, slices, name, settings, planned)], planned.seconds)


def _ended(contest: Contest, slices: Slices, name: str, settings: Mapping[str, str], planned: Planned) -> list[Ended]:
    """One slice."""
    words = " ".join(f"{key.lower()}={value}" for key, value in settings.items())
    slice_name = f"{name} at {100 * planned.load:.0f} %, trace {planned.seed}, {words}"

    def measured() -> list[dict[str, Any]]:
        print(f"C6: {slice_name}", file=sys.stderr)
        return [asdict(each) for each in contest.play(name, settings, planned)]

    kept = slices.get(slice_name, measured, START_SECONDS + planned.seconds + DRAIN_SECONDS)
    return [Ended(**{**each, "outcome": Outcome(each["outcome"])}) for each in kept]


def _played(traces: Sequence[Sequence[Ended]], seconds: float) -> Played:
    """Of traces of `seconds` each."""
    every = [each for trace in traces for each in trace]
    return Played(score(every, seconds * len(traces)), [score(trace, seconds) for trace in traces], len(counted(every)))


def _line(name: str, load: float, played: Played, settings: Mapping[str, str]) -> Row:
    pooled = played.pooled
    figure = f"goodput {pooled.goodput:.2f}/s, p50 {pooled.p50_seconds:.2f} s, p99 {pooled.p99_seconds:.2f} s"
    counts = {key: getattr(pooled, key) for key in ("asked", "in_time", "late", "refused", "failed")}
    words = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in counts.items())
    chosen = "".join(f"; {key.lower()} {value}" for key, value in settings.items())
    note = f"{words}; {len(played.each)} traces{chosen}"
    if played.counted < MIN_COUNTED:
        note += f"; few counted: the p99 is of {played.counted}"
    details = {"scores": [each.facts() for each in played.each]}
    return Row("C6", f"mixed load at {100 * load:.0f} %", name, "", figure, note=note, details=details)


def _verdicts(results: Mapping[float, Mapping[str, Played]]) -> Iterator[Row]:
    """Against the better of the peers."""
    goals = ("goodput within deadline >= 1.5x at 110 %", "p99 <= 0.5x at 80 %", "no worse at 50 %")
    if all(name == OURS for name in results[0.5]):
        yield from (Row("C6", goal, "against the better peer", goal, note="no peer could be had") for goal in goals)
        return

    def gain(load: float) -> float:
        ours, *peers = (played.pooled.goodput for played in results[load].values())
        return ours / max(1e-9, *peers)

    def tail(load: float) -> float:
        ours, *peers = (played.pooled.p99_seconds for played in results[load].values())
        return ours / min(peers)

    yield Row("C6", "goodput at 110 %", "against the better peer", goals[0], f"{gain(1.1):.2f}x", gain(1.1) >= 1.5)
    yield Row("C6", "p99 at 80 %", "against the better peer", goals[1], f"{tail(0.8):.2f}x", tail(0.8) <= 0.5)
    figure = f"goodput {gain(0.5):.2f}x, p99 {tail(0.5):.2f}x"
    holds = gain(0.5) >= 0.98 and tail(0.5) <= 1.05
    yield Row("C6", "at 50 %", "against the better peer", goals[2], figure, holds)
