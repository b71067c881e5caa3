"""How many jobs of one tenant may wait: a bound on rows, as `admission/bounds.py` is one on memory.

Counting thousands of rows for each submit would cost more than the submit. A count is trusted for a second, and what
this process accepts meanwhile is added; replicas together may therefore exceed the bound by what they accept in one.
"""

from __future__ import annotations

import time

from bowerbird.errors import TenantQueueFull
from bowerbird.gateway.records.jobs import Jobs

TRUSTED_SECONDS = 1.0
RETRY_AFTER_SECONDS = 60
MAX_TENANTS = 10_000
"""Counts that are kept; beyond it, all are forgotten and counted again."""


class Backlog:
    """The jobs that wait, by tenant."""

    def __init__(self, jobs: Jobs, bound: int) -> None:
        self._jobs = jobs
        self._bound = bound
        self._counts: dict[str, tuple[float, int]] = {}

    async def admit(self, tenant: str) -> None:
        """Counts one more job; raises TenantQueueFull when the tenant has as many as may wait."""
        counted_at, count = self._counts.get(tenant, (0.0, 0))
        if time.monotonic() - counted_at > TRUSTED_SECONDS:
            counted_at, count = time.monotonic(), await self._jobs.queued(tenant)
        if count >= self._bound:
            raise TenantQueueFull(
                f"{count} jobs of this tenant wait, as many as may. Try again when some of them are finished.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if len(self._counts) >= MAX_TENANTS:
            self._counts.clear()
        self._counts[tenant] = (counted_at, count + 1)
