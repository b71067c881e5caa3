"""The policy of the step scheduler: which pieces are computed next, and together.

`core` asks `next` before every computation and tells `computed` after it. Here are no threads, no arrays and no clock:
the time comes in as a number, so that every promise below is a property test.

1. Class: `batch` work is computed only when no `interactive` work waits.
2. Flow: the fair queue says whose turn it is, by weight and by what the pieces cost (`fair_queue`).
3. Within a flow: the least remaining cost first, so that short work is not stuck behind long work, but nobody goes
   first who would make another late; when not all can be in time, the fewest are given up (`deadlines`). Every second
   of waiting takes `AGING` seconds off what remains, so that long work is not left behind by a stream of short work.
4. A step fills up with steps of the same bucket, whatever their request, step or flow, to `rows`. A clip is too heavy
   to share one; its passes are turns of their own, and anything else may come between two of them.
5. Encoding, previews and decoding are turns of their own, which cost what they cost: they wait for their flow's turn
   as a step does, and no other flow's step waits for more than its share of them. Encoding comes first in its flow: it
   is short, and before it nothing can share a step.
6. Work whose least possible time is more than what is left until its deadline is given up at once (`hopeless`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol

from bowerbird.contracts import WorkClass
from bowerbird.engine.scheduling.deadlines import in_order
from bowerbird.engine.scheduling.fair_queue import FairQueue, Rank
from bowerbird.engine.scheduling.work import Batch, Bucket, Owner, Shape, Stage, Task, Work

AGING = 0.25
"""Seconds of remaining cost that a second of waiting makes up for: what comes 32 s later does not overtake 8 s."""

SURELY = 0.8
"""Part of the measured time that work takes for sure: below it a deadline is hopeless, not only tight."""


class Costs(Protocol):
    """What pieces cost, in seconds; `costs.CostTable` is one."""

    def seconds(self, stage: Stage, bucket: Bucket, rows: int) -> float:
        """Of one computation, `rows` rows together."""
        ...


class Scheduler(Generic[Owner]):
    """All work that is admitted; `rows` is the largest batch, and may be lowered at any time."""

    def __init__(self, costs: Costs, rows: int) -> None:
        self.rows = rows
        self._costs = costs
        self._works: dict[WorkClass, list[Work[Owner]]] = {each: [] for each in WorkClass}
        self._queues = {each: FairQueue() for each in WorkClass}
        self._prices: dict[tuple[Stage, Bucket, int], float] = {}
        self._remaining: dict[Work[Owner], float] = {}

    @property
    def works(self) -> Iterator[Work[Owner]]:
        """What is admitted and has not ended, interactive first."""
        for works in self._works.values():
            yield from works

    def admit(self, work: Work[Owner]) -> None:
        """From now on its pieces are among the next."""
        claim = work.claim
        self._works[claim.work_class].append(work)
        self._queues[claim.work_class].join(claim.flow, claim.weight)

    def remove(self, work: Work[Owner]) -> None:
        """Nobody waits for it any more, or it ended; harmless when it is gone already."""
        works = self._works[work.claim.work_class]
        if work in works:
            works.remove(work)
            self._queues[work.claim.work_class].leave(work.claim.flow)

    def next(self, now: float) -> Batch[Owner] | None:
        """What to compute now; None when there is nothing."""
        for work_class, works in self._works.items():
            if works:
                return self._choose(works, self._queues[work_class], now)
        return None

    def computed(self, batch: Batch[Owner], seconds: float) -> None:
        """Advances the batch's tasks and settles what it took; work that has ended leaves.

        Of a task whose work was removed meanwhile nothing is settled.
        """
        self._prices, self._remaining = {}, {}  # what was looked up for this turn
        had: dict[str, float] = {}
        present = set(self.works)
        for task, share in batch.shares().items():
            if task.work not in present:
                continue
            task.work.computed_seconds += seconds * share
            had[task.work.claim.flow] = had.get(task.work.claim.flow, 0.0) + seconds * share
        if had:
            work_class = batch.tasks[0].work.claim.work_class
            self._queues[work_class].charge(had, self._left_out(batch, self._works[work_class]))
        for task in batch.tasks:
            task.work.advance(task, batch.stage)
            if task.work.ended:
                self.remove(task.work)

    def hopeless(self, now: float) -> list[Work[Owner]]:
        """Work that cannot be finished before its deadline, even if it had the model to itself."""
        return [work for work in self.works if not self.can_meet(work, now)]

    def can_meet(self, work: Work[Owner], now: float) -> bool:
        """False when the deadline is nearer than the least time that the work takes, or passed."""
        left = work.claim.deadline - now
        return left > 0 and left >= SURELY * self._least_seconds(work)

    def remaining_seconds(self, work: Work[Owner]) -> float:
        """What it still costs, its steps at the price that they have in a full batch."""
        seconds = self._remaining.get(work)
        if seconds is None:
            seconds = sum(count * self._price(stage, work.shape) for stage, count in work.left.items() if count)
            self._remaining[work] = seconds
        return seconds

    def _choose(self, works: list[Work[Owner]], queue: FairQueue, now: float) -> Batch[Owner]:
        if len(works) == 1 and len(works[0].tasks) == 1:  # a lone picture's steps are not weighed against anything
            queue.leader({works[0].claim.flow: 0.0})
            return Batch(works[0].stage, works[0].shape.bucket, (works[0].tasks[0],))
        lines = self._lines(works, queue, now)
        leader = queue.leader({flow: self._price(line[0].stage, line[0].shape) for flow, line in lines.items()})
        first = lines[leader][0]
        tasks: tuple[Task[Owner], ...] = (first.tasks[0],)
        if first.stage is Stage.STEP:
            tasks = self._filled(first.tasks[0], lines, queue)
        return Batch(first.stage, first.shape.bucket, tasks)

    def _lines(self, works: list[Work[Owner]], queue: FairQueue, now: float) -> dict[str, list[Work[Owner]]]:
        """Each flow's work in its order, what is not yet encoded first."""

        def urgency(work: Work[Owner]) -> float:
            waited = now - work.admitted - work.computed_seconds
            return self.remaining_seconds(work) - AGING * waited

        flows: dict[str, list[Work[Owner]]] = {}
        for work in works:
            flows.setdefault(work.claim.flow, []).append(work)
        lines = {}
        for flow, own in flows.items():
            line = in_order(own, now, self.remaining_seconds, urgency, queue.share(flow))
            lines[flow] = sorted(line, key=lambda work: work.encoded)
        return lines

    def _filled(
        self, first: Task[Owner], lines: dict[str, list[Work[Owner]]], queue: FairQueue
    ) -> tuple[Task[Owner], ...]:
        """The leader's step and those that come along; each flow's tasks in the order of its line."""
        bucket, leader = first.work.shape.bucket, first.work.claim.flow
        joining = {work: work.joining(bucket) for line in lines.values() for work in line}
        contested = not all(joining.values())
        tasks, seats = [first], self.rows - first.work.shape.seats
        taken = {leader: self._price(Stage.STEP, first.work.shape)}
        waiting = {flow: [task for work in line for task in joining[work]] for flow, line in lines.items()}
        waiting[leader].remove(first)
        order: list[tuple[Rank, str]] = []

        def enrol(flow: str) -> None:
            if waiting[flow]:
                price = self._price(Stage.STEP, waiting[flow][0].work.shape)
                if rank := queue.rank(flow, price, taken.get(flow, 0.0), contested):
                    heapq.heappush(order, (rank, flow))

        for flow in waiting:
            enrol(flow)
        while seats > 0 and order:
            _, flow = heapq.heappop(order)
            task = next((each for each in waiting[flow] if each.work.shape.seats <= seats), None)
            if task is not None:
                waiting[flow].remove(task)
                tasks.append(task)
                seats -= task.work.shape.seats
                taken[flow] = taken.get(flow, 0.0) + self._price(Stage.STEP, task.work.shape)
                enrol(flow)
        return tuple(tasks)

    def _price(self, stage: Stage, shape: Shape) -> float:
        """Of one task's piece: a step's is its part of a full batch."""
        if stage is not Stage.STEP or shape.seats >= self.rows:
            return self._seconds(stage, shape.bucket, shape.rows)
        return self._seconds(stage, shape.bucket, self.rows) * shape.rows / self.rows

    def _seconds(self, stage: Stage, bucket: Bucket, rows: int) -> float:
        """Of one computation; looked up once a turn."""
        key = (stage, bucket, rows)
        seconds = self._prices.get(key)
        if seconds is None:
            seconds = self._prices[key] = self._costs.seconds(stage, bucket, rows)
        return seconds

    def _least_seconds(self, work: Work[Owner]) -> float:
        """The larger of all its pieces at the best price, and the way of its last frame with the model to itself."""
        shape, last = work.shape, work.tasks[-1]
        alone = last.passes_left * self._seconds(Stage.STEP, shape.bucket, shape.rows)
        return max(self.remaining_seconds(work), alone + last.decodes_left * self._price(Stage.DECODE, shape))

    @staticmethod
    def _left_out(batch: Batch[Owner], works: list[Work[Owner]]) -> set[str]:
        """Flows that had a piece waiting which is not in the batch."""
        included: dict[Work[Owner], int] = {}
        for task in batch.tasks:
            included[task.work] = included.get(task.work, 0) + 1
        return {work.claim.flow for work in works if included.get(work, 0) < work.ready()}
