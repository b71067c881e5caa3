"""Which pods are busy, told to Kubernetes, so that a scale-down takes idle ones first.

A ReplicaSet that gets smaller deletes the pods with the lowest `controller.kubernetes.io/pod-deletion-cost` first
(https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost). Whoever keeps the queue's
order knows what runs where, so that one replica writes for all: BUSY when a pod begins to compute, and nothing any more
when it has been idle for IDLE_SECONDS, which keeps a pod that is used now and then from being patched all day. While a
pod that is busy is not known as such, `settled` says so and no fewer pods are asked for (`sharing`). It is done for the
stages that have slots, whoever counts their pods; the others answer too soon for it.

By the same patch node autoscalers leave a busy pod's node alone, and no other: Cluster Autoscaler by `safe-to-evict`,
Karpenter by `do-not-disrupt`.

It is a hint: the correctness of a scale-down rests on drain.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from bowerbird.gateway.background import in_background
from bowerbird.gateway.discovery.api_server import ApiServer, ApiServerAway, ApiServerRefused
from bowerbird.gateway.discovery.endpoint_slices import Found

LOOK_SECONDS = 0.25
IDLE_SECONDS = 5.0
BUSY = {
    "controller.kubernetes.io/pod-deletion-cost": "1000",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations of a pod that computes."""
IDLE = dict.fromkeys(BUSY)
GONE = 404
PODS = "/api/v1/namespaces/{namespace}/pods/"

logger = logging.getLogger(__name__)


class DeletionCosts:
    """`found` are the stage's endpoints; `in_flight` what runs at each, or None where another replica knows."""

    def __init__(
        self, server: ApiServer, found: Callable[[], Found], in_flight: Callable[[], Mapping[str, int] | None]
    ) -> None:
        self._server = server
        self._found = found
        self._in_flight = in_flight
        self._told: dict[str, bool | None] | None = None
        """Pod -> whether it is known as busy, or None where another replica told; None before this one has looked."""
        self._used: dict[str, float] = {}

    @property
    def settled(self) -> bool:
        """Whether every pod that computes now is known as busy."""
        in_flight, told = self._in_flight(), self._told or {}
        return in_flight is None or all(told.get(pod) for pod, count in self._work(in_flight).items() if count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks until the context ends."""
        async with in_background(self._look_again_and_again()):
            yield

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                await self.look(time.monotonic())
            except (ApiServerAway, ApiServerRefused) as error:
                logger.warning("which pods are busy is not known to Kubernetes", extra={"reason": str(error)})
            except Exception:  # a bug: a hint that is not given must not end the others
                logger.exception("which pods are busy was not told")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: float) -> None:
        """Tells what has changed; raises ApiServerAway or ApiServerRefused, and what was not told is told next time."""
        in_flight = self._in_flight()
        if in_flight is None:
            self._told = None
            return
        pods = self._work(in_flight)
        self._used |= {pod: now for pod, count in pods.items() if count}
        self._used = {pod: when for pod, when in self._used.items() if pod in pods}
        busy_now = {pod: self._is_busy(pod, now) for pod in pods}
        if self._told is None:  # what another replica told of them is not known
            self._told = dict.fromkeys(busy_now)
        self._told = {pod: told for pod, told in self._told.items() if pod in pods}
        changes = {pod: busy for pod, busy in busy_now.items() if busy != self._told.get(pod, False)}
        for pod, busy in changes.items():
            await self._tell(pod, busy)
            self._told[pod] = busy

    def _work(self, in_flight: Mapping[str, int]) -> Counter[str]:
        """Pod -> what runs there, of those that are ready; one with two kinds of addresses has two endpoints."""
        found, work = self._found(), Counter[str]()
        for url in found.ready & found.pods.keys():
            work[found.pods[url]] += in_flight.get(url, 0)
        return work

    async def _tell(self, pod: str, busy: bool) -> None:
        try:
            await self._server.patch(PODS + pod, {"metadata": {"annotations": BUSY if busy else IDLE}})
        except ApiServerRefused as error:
            if error.status != GONE:  # a pod that is gone needs no cost
                raise

    def _is_busy(self, pod: str, now: float) -> bool:
        return now - self._used.get(pod, -IDLE_SECONDS) < IDLE_SECONDS
