"""What a client of each kind does, until it is told or has reason to stop.

plain          asks once; what broke is asked again after the last fault (`settling`)
keyed          asks with a key until it is told
repeated       two clients ask with one key at the same time
job            `respond-async`, once; follows the job it was given to its end
keyed_job      the same with a key, until it was given a job
heard_job      the same, and hears the job's events over as many connections as it takes
cancelled      cancels its job a little later
hang_up        closes the connection before the answer
keyed_hang_up  does so, and comes back with its key
foreign        looks at, fetches and cancels a job of another tenant
moderated      has a text classified
refused        asks for what the policy refuses, as a request or as a job
crisis         writes what somebody in danger writes
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .caller import Caller, Request
from .faults import Conductor
from .ledger import Exchange, Ledger, Outcome, Step
from .plan import Kind, Operation

CLIENTS = 16
STEPS = 2
PATIENCE_SECONDS = 240.0
"""Of a client who was promised an answer: many times what every fault together with its recovery takes."""
PAUSE_SECONDS = 0.5
"""Between two looks, and before asking again."""
GENERATIONS = "/v1/images/generations"
ASK_AGAIN = frozenset({408, 429, 500, 502, 503})
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
ASYNC = {"Prefer": "respond-async"}


class Traffic:
    """All clients of a run."""

    def __init__(self, caller: Caller, conductor: Conductor, ledger: Ledger, progress: Callable[[int], None]) -> None:
        self._caller = caller
        self._conductor = conductor
        self._ledger = ledger
        self._progress = progress
        self._jobs: list[tuple[int, str]] = []
        """Tenant and id of every job that somebody was told of."""
        self._acts: Mapping[Kind, Callable[[Operation], Awaitable[None]]] = {
            Kind.PLAIN: self._plain,
            Kind.KEYED: self._keyed,
            Kind.REPEATED: self._repeated,
            Kind.JOB: self._job,
            Kind.KEYED_JOB: self._keyed_job,
            Kind.HEARD_JOB: self._heard_job,
            Kind.CANCELLED: self._cancelled,
            Kind.HANG_UP: self._plain,
            Kind.KEYED_HANG_UP: self._keyed_hang_up,
            Kind.FOREIGN: self._foreign,
            Kind.MODERATED: self._moderated,
            Kind.REFUSED: self._refused,
            Kind.CRISIS: self._refused,
        }

    async def run(self, operations: Sequence[Operation]) -> None:
        """Sends all operations in their order, CLIENTS at a time; returns when each has ended."""
        waiting = iter(operations)
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._client(waiting))

    async def _client(self, waiting: Any) -> None:
        for operation in waiting:
            await self._conductor.may_send(operation.number)
            await self._conductor.sent()
            self._progress(operation.number)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._acts[operation.kind](operation)
            except TimeoutError:
                self._ledger.abandoned[operation.number] = operation.kind

    async def _plain(self, operation: Operation) -> None:
        request = drawing(operation)
        if operation.kind is Kind.HANG_UP:
            request = replace(request, limit_seconds=operation.seconds)
        await self._caller.send(request, operation.gateway)

    async def _keyed(self, operation: Operation) -> None:
        await self._until_told(drawing(operation, keyed=True), operation.gateway)

    async def _repeated(self, operation: Operation) -> None:
        request = drawing(operation, keyed=True)
        await asyncio.gather(*(self._until_told(request, operation.gateway + turn) for turn in range(2)))

    async def _keyed_hang_up(self, operation: Operation) -> None:
        request = drawing(operation, keyed=True)
        await self._caller.send(replace(request, limit_seconds=operation.seconds), operation.gateway)
        await asyncio.sleep(operation.seconds)
        await self._until_told(request, operation.gateway + 1)

    async def _job(self, operation: Operation) -> None:
        accepted = await self._caller.send(submitting(operation), operation.gateway)
        if accepted.succeeded and accepted.job:
            await self._followed(operation, accepted.job)

    async def _keyed_job(self, operation: Operation) -> None:
        accepted = await self._until_told(submitting(operation, keyed=True), operation.gateway)
        if accepted.job:
            await self._followed(operation, accepted.job)

    async def _heard_job(self, operation: Operation) -> None:
        accepted = await self._until_told(submitting(operation, keyed=True), operation.gateway)
        if accepted.job is None:
            return
        heard = self._ledger.heard.setdefault(accepted.job, [])
        request = Request(operation.number, Step.HEAR, operation.tenant, "GET", f"/v1/jobs/{accepted.job}/events")
        gateway = operation.gateway
        while not heard or heard[-1][1] not in FINAL:
            heard += await self._caller.hear(request, gateway, heard[-1][0] if heard else 0)
            gateway += 1
            await asyncio.sleep(PAUSE_SECONDS / 10)
        await self._followed(operation, accepted.job)

    async def _cancelled(self, operation: Operation) -> None:
        accepted = await self._until_told(submitting(operation, keyed=True), operation.gateway)
        if accepted.job is None:
            return
        await asyncio.sleep(operation.seconds)
        path = f"/v1/jobs/{accepted.job}"
        request = Request(operation.number, Step.CANCEL, operation.tenant, "DELETE", path, job=accepted.job)
        await self._until_told(request, operation.gateway + 1)
        await self._followed(operation, accepted.job)

    async def _foreign(self, operation: Operation) -> None:
        others = [job for tenant, job in self._jobs if tenant != operation.tenant]
        job = others[operation.number * 7919 % len(others)] if others else f"job_{operation.number:024x}"
        for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")):
            request = Request(operation.number, Step.SPY, operation.tenant, method, f"/v1/jobs/{job}{path}", job=job)
            await self._caller.send(replace(request, limit_seconds=20), operation.gateway)

    async def _moderated(self, operation: Operation) -> None:
        for turn in range(2 if operation.keyed else 1):  # the second time, the first answer
            await self._until_told(asking(operation), operation.gateway + turn)

    async def _refused(self, operation: Operation) -> None:
        request = drawing(operation, keyed=operation.keyed, respond_async=operation.keyed)
        await self._until_told(request, operation.gateway)

    async def _followed(self, operation: Operation, job: str) -> None:
        """The job at its end, and its pictures."""
        self._jobs.append((operation.tenant, job))
        look = Request(operation.number, Step.LOOK, operation.tenant, "GET", f"/v1/jobs/{job}", job=job)
        gateway = operation.gateway
        while (seen := await self._until_told(look, gateway)).state not in FINAL:
            if seen.status == 404:
                return  # an accepted job that nobody knows: the books will say so
            gateway += 1
            await asyncio.sleep(PAUSE_SECONDS)
        fetch = replace(look, step=Step.RESULT, path=f"/v1/jobs/{job}/result")
        await self._until_told(fetch, gateway + 1)

    async def _until_told(self, request: Request, gateway: int) -> Exchange:
        """Asks again, at one gateway after the other, until an answer comes that will not change."""
        while True:
            exchange = await self._caller.send(request, gateway)
            if is_settled(exchange):
                return exchange
            gateway += 1
            await asyncio.sleep(PAUSE_SECONDS)


def is_settled(exchange: Exchange) -> bool:
    """Whether asking again makes no sense: it succeeded, or was refused for what it is."""
    return exchange.outcome is Outcome.TOLD and exchange.status not in ASK_AGAIN


def drawing(operation: Operation, *, keyed: bool = False, respond_async: bool = False) -> Request:
    """A request for the operation's pictures."""
    body: dict[str, Any] = {"safety_identifier": operation.name, "steps": STEPS, "candidates": 1}
    recipe = operation.recipe
    if recipe is None:
        body["prompt"] = operation.text
    else:
        body |= {"prompt": recipe.prompt, "seed": recipe.seed, "n": recipe.pictures}
        body |= {"output_format": recipe.output_format} | ({"cache": "fresh"} if operation.fresh else {})
    headers = {"Idempotency-Key": operation.name} if keyed else {}
    headers |= ASYNC if respond_async else {}
    return Request(operation.number, Step.DRAW, operation.tenant, "POST", GENERATIONS, body, headers)


def submitting(operation: Operation, *, keyed: bool = False) -> Request:
    """The same, to be a job."""
    return replace(drawing(operation, keyed=keyed, respond_async=True), step=Step.SUBMIT)


def asking(operation: Operation) -> Request:
    """A question about a text."""
    headers = {"Idempotency-Key": operation.name} if operation.keyed else {}
    body = {"input": operation.text}
    return Request(operation.number, Step.MODERATE, operation.tenant, "POST", "/v1/moderations", body, headers)
