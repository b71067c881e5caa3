"""After the last fault: everything may finish, and what is claimed now is asked for.

Whoever was told nothing asks again, as OpenAI's client does by itself, and must be served: the stack is whole. Every
job must end. Then each gateway is asked for what it would tell anybody later: the jobs, their pictures, the usage. Some
recipes are drawn anew, so that what was drawn amid faults can be compared with what is drawn in peace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .caller import Caller, Request
from .ledger import NO_OPERATION, Ledger, Step
from .plan import DELIVERED, TENANTS, Kind, Operation, Plan
from .traffic import FINAL, PAUSE_SECONDS, drawing, is_settled

SETTLE_SECONDS = 240.0
ASKING_AT_ONCE = 8
DRAWN_IN_PEACE = 30
"""Recipes that are drawn anew at the end, of those that were drawn."""


@dataclass(slots=True)
class Settled:
    """What the gateways say when all is over."""

    jobs: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Of each tenant, as listed."""
    usage: Sequence[Mapping[int, Sequence[Mapping[str, Any]]]] = ()
    """By gateway and tenant."""
    seconds: float = 0.0
    """From the last fault's end until every job had ended."""


class Settling:
    """The last questions of a run."""

    def __init__(self, plan: Plan, caller: Caller, ledger: Ledger, progress: Callable[[str], None]) -> None:
        self._plan = plan
        self._caller = caller
        self._ledger = ledger
        self._progress = progress
        self._gateways = plan.setup.gateways

    async def settle(self) -> Settled:
        """Asks everything."""
        began = time.monotonic()
        self._progress("settling: who was told nothing asks again")
        await self._each(self._told_nothing(), self._ask_again)
        await self._each(self._given_up(), self._come_back)
        jobs = await self._until_ended()
        seconds = time.monotonic() - began
        self._progress("settling: every job has ended; its pictures are fetched again, some recipes drawn anew")
        succeeded = [
            (tenant, job["id"]) for tenant, each in jobs.items() for job in each if job["status"] == "succeeded"
        ]
        await self._each(succeeded, self._fetch)
        await self._each(self._to_be_drawn_again(), self._draw_again)
        for gateway in range(self._gateways):
            await self._usage(gateway)  # whoever is asked writes down first what nobody waited for
        usage = [await self._usage(gateway) for gateway in range(self._gateways)]
        return Settled(jobs, usage, round(seconds, 1))

    def _told_nothing(self) -> list[Operation]:
        """Plain requests without an answer; a key or a job id would have found it."""
        exchanges = self._ledger.by_operation()
        plain = [each for each in self._plan.operations if each.kind in (Kind.PLAIN, Kind.HANG_UP)]
        return [each for each in plain if not any(known.succeeded for known in exchanges[each.number])]

    async def _ask_again(self, operation: Operation) -> None:
        await self._until_told(drawing(operation), operation.gateway)

    def _given_up(self) -> list[Operation]:
        """Those with a key whose client lost its patience: the key finds what became of it."""
        return [self._plan.operations[number] for number, kind in self._ledger.abandoned.items() if kind in DELIVERED]

    async def _come_back(self, operation: Operation) -> None:
        await self._until_told(drawing(operation, keyed=True), operation.gateway)

    async def _until_ended(self) -> Mapping[int, Sequence[Mapping[str, Any]]]:
        ends_at = time.monotonic() + SETTLE_SECONDS
        while True:
            jobs = {tenant: await self._listed(tenant) for tenant in range(TENANTS)}
            unfinished = sum(job["status"] not in FINAL for each in jobs.values() for job in each)
            if not unfinished or time.monotonic() > ends_at:
                return jobs
            self._progress(f"settling: {unfinished} jobs have not ended")
            await asyncio.sleep(2 * PAUSE_SECONDS)

    async def _listed(self, tenant: int) -> Sequence[Mapping[str, Any]]:
        """All jobs of a tenant, page by page, at one gateway after the other."""
        found: list[Mapping[str, Any]] = []
        cursor, gateway = "", tenant
        while True:
            page = await self._read(f"/v1/jobs?limit=100{cursor}", tenant, gateway)
            found += page["data"]
            if not page["has_more"]:
                return found
            cursor, gateway = f"&after={page['next_cursor']}", gateway + 1

    async def _fetch(self, of_tenant: tuple[int, str]) -> None:
        """The result, at every gateway."""
        tenant, job = of_tenant
        request = Request(NO_OPERATION, Step.RESULT, tenant, "GET", f"/v1/jobs/{job}/result", job=job)
        for gateway in range(self._gateways):
            await self._until_told(request, gateway)

    def _to_be_drawn_again(self) -> list[Operation]:
        drawn = {
            each.recipe.number: each
            for each in self._plan.operations
            if each.recipe and each.kind in (Kind.PLAIN, Kind.KEYED)
        }
        chosen = list(drawn.values())
        return chosen[:: max(1, len(chosen) // DRAWN_IN_PEACE)]

    async def _draw_again(self, operation: Operation) -> None:
        request = replace(drawing(replace(operation, fresh=True)), step=Step.REDRAW)
        await self._until_told(request, operation.gateway)

    async def _usage(self, gateway: int) -> Mapping[int, Sequence[Mapping[str, Any]]]:
        return {tenant: (await self._read("/v1/usage", tenant, gateway))["data"] for tenant in range(TENANTS)}

    async def _until_told(self, request: Request, gateway: int) -> None:
        ends_at = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < ends_at:
            if is_settled(await self._caller.send(request, gateway)):
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, path: str, tenant: int, gateway: int) -> dict[str, Any]:
        for _ in range(20):
            if (found := await self._caller.read(path, tenant, gateway)) is not None:
                return found
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"no gateway tells {path.partition('?')[0]} although every fault is over")

    async def _each(self, items: Sequence[Any], ask: Callable[[Any], Any]) -> None:
        """Asks about all of them, some at a time."""
        waiting = iter(items)

        async def worker() -> None:
            for item in waiting:
                await ask(item)

        async with asyncio.TaskGroup() as workers:
            for _ in range(ASKING_AT_ONCE):
                workers.create_task(worker())
