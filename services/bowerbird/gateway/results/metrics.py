"""Prometheus metrics of stored results; every label is one of a few words."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge


class Source(StrEnum):
    """Where the pictures of an answer came from."""

    STORED = "stored"
    SHARED = "shared"
    """Drawn for another request that was under way (`flights`)."""
    DRAWN = "drawn"
    """Looked for, not found, drawn."""
    FRESH = "fresh"
    """Drawn without looking, as the request wanted it."""


class Departure(StrEnum):
    """Why a result is stored no longer."""

    EVICTED = "evicted"
    EXPIRED = "expired"
    DAMAGED = "damaged"


class ResultMetrics:
    """Hits and misses, what left, and how much there is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "bowerbird_result_answers",
            "Answers by where their pictures came from; `any` where the request took any seed.",
            ["source", "wanted"],
            registry=registry,
        )
        self._answers_of = cache(self._answers.labels)  # a bounded number; to find one takes longer than to count
        self._departures = Counter(
            "bowerbird_result_departures", "Stored results that left, by reason.", ["why"], registry=registry
        )
        self._failures = Counter(
            "bowerbird_result_failures",
            "Look-ups and stores that failed; the request was answered nevertheless.",
            ["what"],
            registry=registry,
        )
        self._bytes = Gauge(
            "bowerbird_result_bytes", "What all stored results take, of all replicas.", registry=registry
        )

    def answered(self, source: Source, any_seed: bool) -> None:
        """Counts one answer."""
        self._answers_of(source.value, "any" if any_seed else "seed").inc()

    def left(self, why: Departure, count: int) -> None:
        """Counts results that left."""
        self._departures.labels(why.value).inc(count)

    def failed(self, what: str) -> None:
        """Counts a `look_up` or a `store` that failed."""
        self._failures.labels(what).inc()

    def holds(self, size: int) -> None:
        """Says how many bytes all results take."""
        self._bytes.set(size)
