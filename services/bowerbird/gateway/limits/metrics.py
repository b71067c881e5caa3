"""Prometheus metrics of limits; labels are names of limits, tiers and outcomes, never a tenant."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class LimitMetrics:
    """Who was refused by what, how often the ledger was asked, and whether it answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refusals = Counter(
            "bowerbird_limit_refusals", "Requests beyond a limit of their tenant.", ["limit", "tier"], registry=registry
        )
        self._hand_outs = Counter(
            "bowerbird_limit_hand_outs",
            "Shares of limits that were asked of the database.",
            ["outcome"],
            registry=registry,
        )
        self._alone = Gauge(
            "bowerbird_limits_alone",
            "1 while limits are this gateway's own part, because the database does not answer.",
            registry=registry,
        )

    def refused(self, limit: str, tier: str) -> None:
        """Counts one refusal."""
        self._refusals.labels(limit, tier).inc()

    def handed_out(self, outcome: str) -> None:
        """Counts one question to the ledger: `answered` or `failed`."""
        self._hand_outs.labels(outcome).inc()

    def alone(self, alone: bool) -> None:
        """The database does not answer; or does again."""
        self._alone.set(int(alone))
