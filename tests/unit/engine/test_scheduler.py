"""The policy's promises, on a made-up clock: fair, never starving, short before long, one shape a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bowerbird.contracts import WorkClass
from bowerbird.engine.scheduling.scheduler import AGING
from bowerbird.engine.scheduling.work import Batch, Bucket, Claim, Shape, Stage, Work

from .clock import BUCKETS, CLIP, FOREVER, LARGE, SMALL, SMALL_LORA, Clock, Prices


def owners(batch: Batch[str] | None) -> list[str]:
    assert batch is not None
    return [task.work.owner for task in batch.tasks]


SHAPES = st.builds(
    Shape,
    bucket=st.sampled_from(BUCKETS),
    rows=st.integers(1, 2),
    calls=st.integers(1, 6),
    count=st.integers(1, 4),
    preview_steps=st.integers(0, 3),
    max_previews=st.integers(1, 3),
) | st.builds(
    Shape,
    bucket=st.just(CLIP),
    rows=st.integers(1, 2),
    calls=st.integers(1, 3),
    count=st.integers(1, 2),
    passes=st.integers(1, 3),
    decodes=st.integers(2, 5),
    preview_steps=st.integers(0, 2),
)
CLAIMS = st.builds(
    Claim,
    deadline=st.just(FOREVER),
    work_class=st.sampled_from(WorkClass),
    flow=st.sampled_from("abc"),
    weight=st.sampled_from([0.01, 0.5, 1.0, 3.0, 100.0]),
)


class Machine(RuleBasedStateMachine):
    """Requests come, leave and are computed in any order; what was computed is counted by task."""

    @initialize(rows=st.integers(1, 6))
    def start(self, rows: int) -> None:
        self.clock = Clock(rows)
        self.admitted: list[Work[str]] = []
        self.removed: list[Work[str]] = []
        self.pieces: Counter[tuple[Work[str], int, Stage]] = Counter()

    @rule(shape=SHAPES, claim=CLAIMS)
    def admit(self, shape: Shape, claim: Claim) -> None:
        self.admitted.append(self.clock.admit("", shape, claim))

    @rule(which=st.integers(0, 20))
    def leave(self, which: int) -> None:
        if self.present:
            work = self.present[which % len(self.present)]
            self.clock.scheduler.remove(work)
            self.removed.append(work)

    @rule()
    def turn(self) -> None:
        present, classes = self.present, {work.claim.work_class for work in self.present}
        before = {work: work.stage for work in present}
        batch = self.clock.turn()
        assert (batch is None) == (not present)
        if batch is None:
            return
        assert {task.work.claim.work_class for task in batch.tasks} == {
            WorkClass.INTERACTIVE if WorkClass.INTERACTIVE in classes else WorkClass.BATCH
        }
        assert {task.work.shape.bucket for task in batch.tasks} == {batch.bucket}
        assert len(set(batch.tasks)) == len(batch.tasks)
        assert len(batch.tasks) == 1 or (batch.stage is Stage.STEP and batch.bucket != CLIP)
        assert len(batch.tasks) == 1 or batch.rows <= self.clock.scheduler.rows
        for task in batch.tasks:
            assert task.work in present
            assert (before[task.work] is Stage.ENCODE) == (batch.stage is Stage.ENCODE)
            self.pieces[task.work, task.index, batch.stage] += 1

    @property
    def present(self) -> list[Work[str]]:
        return [work for work in self.admitted if work not in self.removed and not work.ended]

    @invariant()
    @precondition(lambda self: hasattr(self, "clock"))
    def what_is_left_is_what_was_not_computed(self) -> None:
        assert set(self.clock.scheduler.works) == set(self.present)
        for work in self.present:
            assert min(work.left.values()) >= 0
            assert self.clock.scheduler.remaining_seconds(work) > 0

    def teardown(self) -> None:
        if not hasattr(self, "clock"):
            return
        while self.present:
            self.turn()
        for work in self.admitted:
            if work in self.removed:
                continue
            shape = work.shape
            previews = (shape.calls - 1) // shape.preview_steps if shape.preview_steps else 0
            previews = min(previews, shape.max_previews)
            assert self.pieces[work, 0, Stage.ENCODE] == 1
            for index in range(shape.count):
                assert self.pieces[work, index, Stage.STEP] == shape.calls * shape.passes
                assert self.pieces[work, index, Stage.PREVIEW] == previews
                assert self.pieces[work, index, Stage.DECODE] == shape.decodes


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_every_admitted_group_ends_exactly_once_and_no_batch_mixes_shapes = Machine.TestCase


@dataclass(frozen=True)
class Supply:
    """A flow that always has work: more than fits a batch, or a single request at a time."""

    weight: float
    bucket: Bucket
    rows: int
    calls: int
    plenty: bool


SUPPLIES = st.builds(
    Supply,
    weight=st.sampled_from([0.01, 0.3, 1.0, 2.0, 10.0, 100.0]),
    bucket=st.sampled_from(BUCKETS),
    rows=st.integers(1, 2),
    calls=st.integers(1, 8),
    plenty=st.booleans(),
)


HEAVY_AND_LIGHT = [
    Supply(weight=0.3, bucket=SMALL, rows=2, calls=6, plenty=True),
    Supply(weight=10.0, bucket=SMALL, rows=1, calls=8, plenty=True),
    Supply(weight=10.0, bucket=SMALL_LORA, rows=1, calls=6, plenty=True),
    Supply(weight=100.0, bucket=SMALL_LORA, rows=2, calls=5, plenty=True),
    Supply(weight=0.3, bucket=SMALL_LORA, rows=2, calls=6, plenty=True),
]
"""Light flows whose rows fit what a heavy one leaves of a batch: if they could borrow at will, others would pay."""


def advances(supplies: list[Supply], rows: int, call: float) -> tuple[list[list[float]], float]:
    """By how much each flow is ahead of its weight's share after each of many turns, and the largest cost."""
    clock = Clock(rows, Prices(call=call))
    had = [0.0] * len(supplies)
    ahead: list[list[float]] = [[0.0] for _ in supplies]
    largest = 0.0

    def more(number: int) -> None:
        supply = supplies[number]
        claim = Claim(FOREVER, flow=str(number), weight=supply.weight)
        clock.admit(str(number), Shape(supply.bucket, supply.rows, supply.calls), claim)

    for number, supply in enumerate(supplies):
        for _ in range(rows + 1 if supply.plenty else 1):
            more(number)
    for _ in range(300):
        batch = clock.turn()
        assert batch is not None
        seconds = clock.prices.seconds(batch.stage, batch.bucket, batch.rows)
        largest = max(largest, seconds)
        for task, share in batch.shares().items():
            had[int(task.work.owner)] += seconds * share
            if task.work.ended:
                more(int(task.work.owner))
        for number, supply in enumerate(supplies):
            ahead[number].append(had[number] - clock.now * supply.weight / sum(each.weight for each in supplies))
    return ahead, largest


@settings(max_examples=30, deadline=None)
@given(st.lists(SUPPLIES, min_size=2, max_size=7), st.integers(1, 6), st.sampled_from([0.0, 1.0, 5.0]))
@example(HEAVY_AND_LIGHT, 3, 1.0)
def test_a_flow_that_always_waits_gets_its_weights_share_of_any_window(
    supplies: list[Supply], rows: int, call: float
) -> None:
    """Less by three times the largest cost at most, whatever window of turns one looks at."""
    ahead, largest = advances(supplies, rows, call)
    for supply, advance in zip(supplies, ahead, strict=True):
        if supply.plenty:
            best = np.maximum.accumulate(advance)
            assert np.max(best - advance) <= 3 * largest, supply


@settings(max_examples=15, deadline=None)
@given(st.lists(SUPPLIES, min_size=2, max_size=6), st.integers(1, 6), st.sampled_from([0.0, 1.0, 5.0]))
@example(HEAVY_AND_LIGHT, 3, 1.0)
def test_and_no_more_when_all_others_wait_too(supplies: list[Supply], rows: int, call: float) -> None:
    ahead, largest = advances([replace(supply, plenty=True) for supply in supplies], rows, call)
    for supply, advance in zip(supplies, ahead, strict=True):
        assert max(advance) - min(advance) <= 3 * largest, supply


@settings(max_examples=40, deadline=None)
@given(weight=st.sampled_from([0.01, 1.0]), rows=st.integers(1, 4), same_bucket=st.booleans())
def test_a_light_flow_is_served_beside_a_crowd_that_never_ends(weight: float, rows: int, same_bucket: bool) -> None:
    clock = Clock(rows)
    crowd = [Claim(FOREVER, flow=f"flow {number}", weight=1.0) for number in range(5)]
    for claim in crowd:
        clock.admit("crowd", Shape(SMALL, 1, 100_000), claim)
    for _ in range(50):
        clock.turn()
    light = clock.admit(
        "light", Shape(SMALL if same_bucket else LARGE, 1, 1), Claim(FOREVER, flow="light", weight=weight)
    )
    entitled = clock.scheduler.remaining_seconds(light) * (5 + weight) / weight
    limit = clock.now + entitled + 6 * 3 * 4 / min(weight, 1.0)
    clock.run(until=lambda: light.ended)
    assert clock.now <= limit


def test_long_work_is_overtaken_only_by_what_comes_within_a_few_times_its_length() -> None:
    """Three short requests of its own flow always wait: whenever one ends, the next is there."""
    clock = Clock(rows=1)
    long = clock.admit("long", Shape(SMALL, 1, 40))
    remaining = clock.scheduler.remaining_seconds(long)
    short: list[Work[str]] = []

    def flooded() -> bool:
        while sum(not work.ended for work in short) < 3:
            short.append(clock.admit("short", Shape(SMALL, 1, 1)))
        return long.ended

    clock.run(until=flooded)
    overtook = [work for work in short if work.ended]
    assert max(work.admitted for work in overtook) <= remaining / AGING + 2 * remaining
    assert clock.now <= remaining / AGING + 2 * remaining


def test_short_work_is_not_stuck_behind_long_work() -> None:
    clock = Clock(rows=2)
    clock.admit("long", Shape(LARGE, 2, 50))
    for _ in range(10):
        clock.turn()
    short = clock.admit("short", Shape(SMALL, 2, 2))
    for _ in range(4):  # encode, two steps, decode
        assert owners(clock.turn()) == ["short"]
    assert short.ended


def test_finished_steps_are_decoded_before_the_flows_other_steps_and_hold_another_flow_up_for_one_turn() -> None:
    clock = Clock(rows=2, prices=Prices(decode=3.0))
    nearly = clock.admit("nearly", Shape(SMALL, 2, 1), Claim(FOREVER, flow="a"))
    clock.admit("other", Shape(SMALL, 2, 50), Claim(FOREVER, flow="b"))
    clock.run(until=lambda: nearly.ended)
    others = [batch for batch in clock.batches if owners(batch) == ["other"]]
    assert len(others) <= 4
    clock.admit("more", Shape(SMALL, 2, 1), Claim(FOREVER, flow="a"))
    stages = [(batch.stage, owners(batch)[0]) for _ in range(40) if (batch := clock.turn())]
    waited = 0.0
    for stage, owner in stages:
        waited = 0.0 if owner == "other" else waited + clock.prices.seconds(stage, SMALL, 2)
        assert waited <= 3 + 2 + 0.1


def test_steps_of_different_requests_at_different_steps_share_a_call() -> None:
    clock = Clock(rows=4)
    clock.admit("early", Shape(SMALL, 2, 8), Claim(FOREVER, flow="a"))
    for _ in range(4):
        clock.turn()
    clock.admit("late", Shape(SMALL, 2, 8), Claim(FOREVER, flow="b"))
    clock.turn()
    batch = clock.turn()
    assert batch is not None
    assert sorted(owners(batch)) == ["early", "late"]
    assert {task.work.owner: task.call for task in batch.tasks} == {"early": 4, "late": 1}


def test_batch_work_is_computed_only_when_no_interactive_work_waits() -> None:
    clock = Clock(rows=8)
    clock.admit("batch", Shape(SMALL, 1, 3), Claim(FOREVER, WorkClass.BATCH, "a", 100.0))
    clock.turn()
    interactive = clock.admit("interactive", Shape(SMALL, 1, 3), Claim(FOREVER, flow="b"))
    clock.run(until=lambda: interactive.ended)
    assert [owners(batch) for batch in clock.batches] == [["batch"], *[["interactive"]] * 5]
    assert owners(clock.turn()) == ["batch"]


def test_frames_of_a_request_leave_in_their_order() -> None:
    clock = Clock(rows=4)
    work = clock.admit("frames", Shape(SMALL, 2, 3, count=5, preview_steps=2))
    clock.run(until=lambda: work.ended)
    decoded = [batch.tasks[0].index for batch in clock.batches if batch.stage is Stage.DECODE]
    assert decoded == [0, 1, 2, 3, 4]


def test_work_that_cannot_be_finished_in_time_is_hopeless_and_what_is_only_tight_is_not() -> None:
    clock = Clock(rows=4)
    tight = clock.admit("tight", Shape(SMALL, 2, 10), Claim(deadline=21.5))
    late = clock.admit("late", Shape(SMALL, 2, 10), Claim(deadline=15.0))
    passed = clock.admit("passed", Shape(SMALL, 2, 10), Claim(deadline=0.0))
    assert clock.scheduler.hopeless(clock.now) == [late, passed]
    clock.scheduler.remove(late)
    clock.scheduler.remove(passed)
    clock.run(until=lambda: tight.ended)
    assert clock.now <= 21.5


def test_after_a_lower_ceiling_a_group_of_two_rows_still_goes_alone() -> None:
    clock = Clock(rows=4)
    clock.admit("a", Shape(SMALL, 2, 2, count=2))
    clock.scheduler.rows = 1
    clock.turn()
    batch = clock.turn()
    assert batch is not None
    assert [task.index for task in batch.tasks] == [0]
