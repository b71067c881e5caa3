"""Prometheus metrics of batches; every label is one of a few words. Added up over the replicas."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from bowerbird.gateway.batches.batch import BatchState


class BatchMetrics:
    """How batches and their lines end here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = Counter("bowerbird_batches", "Batches that ended here, by how.", ["state"], registry=registry)
        self._lines = Counter(
            "bowerbird_batch_lines",
            "Tries at lines of batches: succeeded, failed, or again (somebody else's fault, or a limit).",
            ["outcome"],
            registry=registry,
        )

    def ended(self, state: BatchState) -> None:
        """Counts a batch."""
        self._batches.labels(state.value).inc()

    def tried(self, outcome: str) -> None:
        """Counts a try at a line."""
        self._lines.labels(outcome).inc()
