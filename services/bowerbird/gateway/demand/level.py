"""What the requests of this process want of each stage.

Text-to-image and animation have queues, so their levels are what admission says: who waits, who holds a slot, and who
holds one of a pod that is about to end. Of the other stages those count that are asked something now. And whoever waits
for a stage that sleeps raises its level and that of every stage that will be needed after it, so that they wake
together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.upstream import Stage


@dataclass(frozen=True, slots=True)
class Level:
    """Requests by what they wait for or have; `pods` is wanted whatever they are."""

    queued: int = 0
    running: int = 0
    draining: int = 0
    """On pods that are about to end: work, but no reason for another pod."""
    pods: int = 0

    @property
    def active(self) -> bool:
        """Whether a pod is needed at all."""
        return self != Level()


class Demand:
    """The levels of one process, for one event loop; `admissions` are the queues of the stages that have slots."""

    def __init__(self, admissions: Mapping[Stage, Admission], in_flight: InFlight) -> None:
        self.on_rise: Callable[[], None] = lambda: None
        """Is told when somebody begins to wait for a stage that nobody waited for."""
        self._admissions = admissions
        self._in_flight = in_flight
        self._raised: Counter[Stage] = Counter()

    @contextmanager
    def raised(self, *stages: Stage) -> Iterator[None]:
        """One request more wants these stages, all at once, for as long as the block runs."""
        rises = not all(self._raised[stage] for stage in stages)
        self._raised.update(stages)
        if rises:
            self.on_rise()
        try:
            yield
        finally:
            self._raised.subtract(stages)

    def look(self, stage: Stage) -> None:
        """A request has begun to wait for a slot of this stage, or has one: tells of the first."""
        if self._admissions[stage].is_first:
            self.on_rise()

    def take(self) -> Mapping[Stage, Level]:
        """The levels now; of what is quickly over, the most since they were taken last."""
        return {stage: self._level(stage) for stage in Stage}

    def is_raised(self, stage: Stage) -> bool:
        """Whether somebody waits for this stage now."""
        admission = self._admissions.get(stage)
        return bool(self._raised[stage] or (admission is not None and admission.waiting))

    def _level(self, stage: Stage) -> Level:
        raised = self._raised[stage]
        admission = self._admissions.get(stage)
        if admission is None:
            return Level(queued=raised, running=self._in_flight.most(stage))
        leaving = admission.holding_elsewhere
        return Level(admission.waiting + raised, admission.holding - leaving, leaving)
