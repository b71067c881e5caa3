"""A run from beginning to end: all is started, asked and broken, may finish, is stopped, and the books are checked."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from .accounts import usage_adds_up
from .books import (
    a_listener_hears_everything_once,
    every_failure_has_a_reason,
    nobody_gets_anothers,
    nothing_accepted_is_lost,
    nothing_is_completed_twice,
    what_must_be_refused_is,
)
from .caller import Caller
from .evidence import Claim, Evidence, Finding
from .faults import Conductor
from .ledger import Ledger
from .leftovers import nothing_is_left_behind
from .plan import Plan
from .remains import look_at
from .settling import Settled, Settling
from .stack import Stack
from .traffic import Traffic

CLAIMS: Mapping[str, Claim] = {
    "nothing accepted is lost": nothing_accepted_is_lost,
    "nothing is completed twice": nothing_is_completed_twice,
    "nobody is given another's answer": nobody_gets_anothers,
    "usage adds up": usage_adds_up,
    "what must be refused is refused": what_must_be_refused_is,
    "every failure has a reason": every_failure_has_a_reason,
    "a listener hears everything once": a_listener_hears_everything_once,
    "nothing is left behind": nothing_is_left_behind,
}

KEPT = "kept"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    evidence: Evidence
    findings: Mapping[str, Finding]
    seconds: float
    folder: Path
    """Ledger, logs and rows are in its folder `kept`; it is there when something speaks against a claim."""

    @property
    def against(self) -> list[str]:
        """Everything that speaks against a claim, with the claim."""
        return [f"{claim}: {fact}" for claim, finding in self.findings.items() for fact in finding.against]


def carry_out(plan: Plan, progress: Progress) -> Result:
    """One run; the folder with its state is removed again unless a claim does not hold."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bowerbird-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    stack, ledger = Stack(plan.setup, folder), Ledger()
    with stack.surroundings():
        try:
            progress(f"{plan.setup}, seed {plan.seed}: starting")
            stack.start()
            settled = asyncio.run(_break_and_settle(plan, stack, ledger, progress))
            stack.stop()
            progress("stopped; the books are checked")
            remains = asyncio.run(look_at(stack, plan.operations))
        finally:
            _keep(stack, ledger)
    evidence = Evidence(plan, ledger, settled, remains)
    result = Result(evidence, check(evidence), round(time.monotonic() - began, 1), folder)
    if not result.against:
        shutil.rmtree(folder)
    return result


def check(evidence: Evidence) -> Mapping[str, Finding]:
    """What each claim finds."""
    return {name: _finding(claim, evidence) for name, claim in CLAIMS.items()}


async def _break_and_settle(plan: Plan, stack: Stack, ledger: Ledger, progress: Progress) -> Settled:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        caller = Caller(session, stack.urls, ledger)
        conductor = Conductor(plan.faults, stack, ledger, progress)

        def sent(number: int) -> None:
            if number % 50 == 0:
                progress(f"operation {number}/{len(plan.operations)}")

        async with asyncio.TaskGroup() as both:
            both.create_task(conductor.run())
            both.create_task(Traffic(caller, conductor, ledger, sent).run(plan.operations))
        return await Settling(plan, caller, ledger, progress).settle()


def _finding(claim: Claim, evidence: Evidence) -> Finding:
    finding = Finding(0, [])
    for each in claim(evidence):
        if isinstance(each, int):
            finding.checked += each
        else:
            finding.against.append(each)
    return finding


def _keep(stack: Stack, ledger: Ledger) -> None:
    """What is read when a claim does not hold; the state folder goes with its filesystem."""
    kept = stack.folder / KEPT
    kept.mkdir()
    ledger.save(kept / "ledger.jsonl")
    (kept / "said.txt").write_text("".join(stack.said), encoding="utf-8")
    for file in [*stack.home.glob("logs/*"), *stack.home.glob("records.sqlite*")]:
        shutil.copy(file, kept)
