"""One request on its way through the stages: its id, its deadline and the time each stage took.

A handler makes a `Call` (`api.arrival`); the story and the upstream pass it on. A stage's span, its entry in
`Server-Timing` and its histogram come from the same `with call.stage(...)`, so that the three never disagree.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from opentelemetry import trace

from bowerbird.contracts import FLOW_HEADER, REQUEST_ID_HEADER
from bowerbird.deadline import Deadline
from bowerbird.errors import DeadlineExceeded
from bowerbird.gateway.metrics import Metrics

DEFAULT_LOCALE = "en"

tracer = trace.get_tracer("bowerbird.gateway")


@dataclass(frozen=True, slots=True)
class Call:
    """What every hop of one request carries, and what is written down about it on the way."""

    request_id: str
    deadline: Deadline
    metrics: Metrics
    locale: str = DEFAULT_LOCALE
    """BCP 47, of the caller; chooses the language of a help text."""
    flow: str = ""
    """Whose request it is, as an opaque name: stages share the model fairly between flows (`flow_of`)."""
    began: float = field(default_factory=time.perf_counter)
    """When the request arrived, on this process' performance counter."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, in the order in which they ended."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version of each service that answered, by its name."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A span and a measured time around one stage; both are kept when the stage fails."""
        start = time.perf_counter()
        with tracer.start_as_current_span(name):
            try:
                yield
            finally:
                self.seconds[name] = time.perf_counter() - start
                self.metrics.stage_took(name, self.seconds[name])

    @asynccontextmanager
    async def within_deadline(self) -> AsyncIterator[None]:
        """Cancels what runs inside when the deadline passes, and says so as a fact."""
        try:
            async with asyncio.timeout(self.deadline.remaining_seconds):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(
                "The deadline passed before the request was finished.", retry_after_seconds=1
            ) from error

    def headers(self) -> dict[str, str]:
        """Request id, flow and remaining time for the next hop; raises DeadlineExceeded when none remains."""
        return {REQUEST_ID_HEADER: self.request_id, FLOW_HEADER: self.flow, **self.deadline.headers()}


def flow_of(tenant: str) -> str:
    """A tenant's flow: equal for its requests in every replica, and no name that a stage could log."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]
