"""Prometheus metrics of jobs; every label is one of a few words.

What waits is the same for all replicas: each says what the database said within the last ten seconds, and a dashboard
takes the largest. What ended is counted by the replica that ended it, and added up.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bowerbird.gateway.records.job import MAX_OWN_FAILURES, Claim, Ending, Failure, JobState, Success, Unfinished

ATTEMPTS_BUCKETS = (1, 2, 3, MAX_OWN_FAILURES, 10, 30, 100)


class JobMetrics:
    """What waits, for how long, and how attempts end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._unfinished = Gauge(
            "bowerbird_jobs", "Jobs that have not ended, of all replicas.", ["state"], registry=registry
        )
        self._oldest = Gauge(
            "bowerbird_oldest_queued_job_seconds",
            "Since the oldest job that is queued was accepted, of all replicas; 0 when none is.",
            registry=registry,
        )
        self._attempts = Counter(
            "bowerbird_job_attempts",
            "Claims that ended: succeeded, failed, quarantined, put_back (somebody else's fault), own_failure, void.",
            ["outcome"],
            registry=registry,
        )
        self._needed = Histogram(
            "bowerbird_attempts_of_a_job",
            "Attempts that a job had when it ended here.",
            buckets=ATTEMPTS_BUCKETS,
            registry=registry,
        )

    def wait(self, unfinished: Unfinished) -> None:
        """Says what has not ended."""
        self._unfinished.labels(JobState.QUEUED.value).set(unfinished.queued)
        self._unfinished.labels(JobState.RUNNING.value).set(unfinished.running)
        self._oldest.set(unfinished.oldest_queued_seconds)

    def attempted(self, claim: Claim, ending: Ending, *, valid: bool) -> None:
        """Counts one claim that ended so; a void one was taken over, cancelled or expired, and ended nothing."""
        self._attempts.labels(_outcome(claim, ending) if valid else "void").inc()
        if valid and isinstance(ending, Success | Failure):
            self._needed.observe(claim.attempts)


def _outcome(claim: Claim, ending: Ending) -> str:
    if isinstance(ending, Success):
        return "succeeded"
    if isinstance(ending, Failure):
        return "failed"
    if not ending.own_failure:
        return "put_back"
    return "quarantined" if claim.own_failures + 1 >= MAX_OWN_FAILURES else "own_failure"
