"""The gateway's Prometheus metrics: seconds by route and by stage, with buckets that reach ten minutes.

Labels are bounded: a route is its template in the route table (`unknown` for what matched none), an outcome one of
eight words, a reason an error's code; never a path, a tenant or a prompt. Histograms carry the trace id as exemplar,
which OpenMetrics shows and the older text format leaves out.
"""

from __future__ import annotations

from collections import Counter as Counting
from collections.abc import Iterator
from functools import cache

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.ticket import PutBack
from bowerbird.telemetry import SECONDS_BUCKETS

CLIENT_GONE = 499
REFUSED_CODES = frozenset({"moderation_blocked", "crisis_support", "image_blocked"})
_NAMED = {CLIENT_GONE: "cancelled", 429: "limited", 501: "unavailable", 503: "unavailable", 502: "broken"}


class AtOnce(Collector):
    """How many requests `gateway/hot` answered, by route: numbers that are read when somebody looks."""

    def __init__(self) -> None:
        self.answers: Counting[str] = Counting()

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        family = CounterMetricFamily(
            "bowerbird_answered_at_once", "Requests that were answered before routing.", labels=["route"]
        )
        for route, count in self.answers.items():
            family.add_metric([route], count)
        yield family


class Metrics:
    """One registry for each gateway, so that two in one process (tests) do not share their figures."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Histogram(
            "bowerbird_request_seconds",
            "From the request's first byte to the answer's last.",
            ["route", "outcome"],
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "bowerbird_stage_seconds",
            "What one stage took of a request, as the gateway saw it.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = 0
        """Requests that are being answered."""
        Gauge(
            "bowerbird_requests_in_flight", "Requests that are being answered.", registry=self._registry
        ).set_function(lambda: self.in_flight)
        self._queue = Histogram(
            "bowerbird_queue_seconds",
            "How long a request waited for a slot that it was granted.",
            ["class"],
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self._refusals = Counter(
            "bowerbird_refusals", "Requests that were told to come back later.", ["reason"], registry=self._registry
        )
        self._put_back = Counter(
            "bowerbird_put_back",
            "Granted requests that an endpoint did not serve, being full or lost; they were next again.",
            ["reason"],
            registry=self._registry,
        )
        self._previews = Counter(
            "bowerbird_previews",
            "Previews that were drawn: shown, withheld, or failed on their way.",
            ["outcome"],
            registry=self._registry,
        )
        self.at_once = AtOnce()
        self._registry.register(self.at_once)
        # Which labels exist is bounded; to find their figures anew for each request takes as long as to count it.
        self._request_of = cache(self._requests.labels)
        self._stage_of = cache(self._stages.labels)
        self._queue_of = cache(self._queue.labels)

    @property
    def registry(self) -> CollectorRegistry:
        """Where other parts of the gateway register theirs."""
        return self._registry

    def request_took(self, route: str, outcome: str, seconds: float, *, recorded: bool = True) -> None:
        """Writes down one answered request; of one that nobody records no exemplar is looked for."""
        self._request_of(route, outcome).observe(seconds, _exemplar() if recorded else None)

    def stage_took(self, stage: str, seconds: float, *, recorded: bool = True) -> None:
        """Writes down one stage of a request."""
        self._stage_of(stage).observe(seconds, _exemplar() if recorded else None)

    def queue_took(self, work_class: WorkClass, seconds: float) -> None:
        """Writes down the wait of one request that has a slot now."""
        self._queue_of(work_class).observe(seconds, _exemplar())

    def refused(self, code: str) -> None:
        """Writes down one answer that says to come back later; `code` is an error's."""
        self._refusals.labels(code).inc()

    def put_back(self, why: PutBack) -> None:
        """Writes down one granted request that an endpoint did not serve."""
        self._put_back.labels(why).inc()

    def previewed(self, outcome: str) -> None:
        """Writes down what became of one preview."""
        self._previews.labels(outcome).inc()

    def watch(self, admission: Admission) -> None:
        """Shows how many wait and how many hold a slot, whenever the metrics are read."""
        for name, text, count in (
            ("bowerbird_waiting_requests", "Requests that wait for a slot.", lambda: admission.waiting),
            ("bowerbird_slots_held", "Slots of text-to-image that requests hold.", lambda: admission.holding),
        ):
            Gauge(name, text, registry=self._registry).set_function(count)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text and its media type, in the format that the scraper's `Accept` header asks for."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


def outcome_of(status: int, code: str | None) -> str:
    """One word for how a request ended: ok, refused, invalid, limited, cancelled, unavailable, broken or error."""
    if code in REFUSED_CODES:
        return "refused"
    if status in _NAMED:
        return _NAMED[status]
    return "ok" if status < 400 else "invalid" if status < 500 else "error"


def _exemplar() -> dict[str, str] | None:
    span = trace.get_current_span()
    return {"trace_id": f"{span.get_span_context().trace_id:032x}"} if span.is_recording() else None
