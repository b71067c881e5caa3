"""One request on its way through the stages: its id, its deadline and the time each stage took.

A handler makes a `Call` (`api.arrival`); the story and the upstream pass it on. A stage's span, its entry in
`Server-Timing` and its histogram come from the same `with call.stage(...)`, so that the three never disagree.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry import trace

from bowerbird.contracts import CLASS_HEADER, FLOW_HEADER, GRANT_HEADER, REQUEST_ID_HEADER, WEIGHT_HEADER, WorkClass
from bowerbird.deadline import Deadline
from bowerbird.errors import DeadlineExceeded
from bowerbird.gateway.metrics import Metrics
from bowerbird.telemetry import Step, unrecorded_headers

if TYPE_CHECKING:
    from bowerbird.gateway.demand.phase import Progress
    from bowerbird.gateway.previews import Preview

DEFAULT_LOCALE = "en"
NEVER = Deadline(math.inf)

tracer = trace.get_tracer("bowerbird.gateway")


def _nobody(_: object) -> None:
    pass


async def _free(_: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Call:
    """What every hop of one request carries, and what is written down about it on the way."""

    request_id: str
    deadline: Deadline
    """Of what is done for the request now; every hop is told what is left of it."""
    metrics: Metrics
    locale: str = DEFAULT_LOCALE
    """BCP 47, of the caller; chooses the language of a help text."""
    flow: str = ""
    """Whose request it is, as an opaque name: stages share the model fairly between flows (`flow_of`)."""
    person: str | None = None
    """For which of the tenant's end users, by the keyed name (`records.people`)."""
    work_class: WorkClass = WorkClass.INTERACTIVE
    weight: float = 1.0
    """The tenant's share of the model."""
    queue_part: float | None = None
    """The part of the queue that the tenant may fill; None: as the settings say."""
    accepted: bool = False
    """A job or a line of a batch: the queue refuses it no more."""
    picture_pixels: int | None = None
    """The largest picture that the tenant may have; None: as large as the model draws."""
    window_units: float | None = None
    """The most compute units that the tenant may use in a minute; None: as many as it will."""
    charge: Callable[[float], Awaitable[None]] = _free
    """Counts the compute units that will be drawn for the tenant; raises LimitReached or TierExceeded."""
    any_by_default: bool = False
    """Whether the tenant is content with any stored picture where the request says nothing of it."""
    patience: Deadline = NEVER
    """Until when the caller waits for the answer, whatever is done meanwhile."""
    queue_seconds: float | None = None
    """How long it may wait for a slot; None: as long as the settings say."""
    computing_seconds: float = math.inf
    """How long computing may take once there is capacity."""
    grant: str | None = None
    """By whose word it is computed: a stage refuses what a former owner of the queue granted."""
    on_stage: Callable[[str], None] = _nobody
    """Hears the name of each stage that begins."""
    on_wake: Callable[[Progress], None] = _nobody
    """Hears how far a stage is that sleeps and is waited for."""
    on_preview: Callable[[Preview], None] = _nobody
    """Is given each preview that may leave, where the plan has some."""
    unrecorded: Mapping[str, str] | None = field(default_factory=unrecorded_headers)
    """What tells every hop its trace, where nobody records the span in which this was made: no other is looked for on
    the way. None where one may be recorded."""
    began: float = field(default_factory=time.perf_counter)
    """When the request arrived, on this process' performance counter."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, in the order in which they ended."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version of each service that answered, by its name."""
    first_steps: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Stages that slept when it came, and who is told of its first step there."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A span and a measured time around one stage; both are kept when the stage fails."""
        return _Stage(self, name)

    def stepped(self, stage: str) -> None:
        """A stage has done something for it: a step of a drawing, or an answer where there are no steps."""
        if tell := self.first_steps.pop(stage, None):
            tell()

    def computing(self, grant: str | None = None) -> Call:
        """The same call from the moment at which there is capacity for it: the time to compute begins now."""
        deadline = Deadline(min(self.patience.at, Deadline.after(self.computing_seconds).at))
        return replace(self, deadline=deadline, grant=grant)

    def within_patience(self) -> AbstractAsyncContextManager[None]:
        """Cancels what runs inside, waiting included, when the caller waits no longer."""
        return _within(self.patience)

    def within_deadline(self) -> AbstractAsyncContextManager[None]:
        """Cancels what runs inside when the deadline passes, and says so as a fact."""
        return _within(self.deadline)

    def headers(self) -> dict[str, str]:
        """Request id, whose it is and what is left of the time; raises DeadlineExceeded when nothing is."""
        return {
            REQUEST_ID_HEADER: self.request_id,
            FLOW_HEADER: self.flow,
            CLASS_HEADER: self.work_class,
            WEIGHT_HEADER: f"{self.weight:g}",
            **({} if self.grant is None else {GRANT_HEADER: self.grant}),
            **self.deadline.headers(),
        }


class _Stage(AbstractContextManager[None]):
    """See `Call.stage`."""

    __slots__ = ("_began", "_call", "_name", "_step")

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self._name = name
        self._step = Step(name) if call.unrecorded is None else None

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._call.on_stage(self._name)
        if self._step is not None:
            self._step.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_of_error: TracebackType | None
    ) -> None:
        call, name, took = self._call, self._name, time.perf_counter() - self._began
        call.seconds[name] = call.seconds.get(name, 0.0) + took  # a stage that was tried again took both times
        call.metrics.stage_took(name, took, recorded=self._step is not None)
        if self._step is not None:
            self._step.__exit__(kind, error, trace_of_error)


def _within(deadline: Deadline) -> AbstractAsyncContextManager[None]:
    return nullcontext() if math.isinf(deadline.at) else _until(deadline)


@asynccontextmanager
async def _until(deadline: Deadline) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline.remaining_seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed before the request was finished.", retry_after_seconds=1) from error


@lru_cache(maxsize=4096)
def flow_of(tenant: str) -> str:
    """A tenant's flow: equal for its requests in every replica, and no name that a stage could log."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]
