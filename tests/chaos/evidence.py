"""All that is known of a run, as the claims look at it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .ledger import NO_OPERATION, Answered, Exchange, Ledger, Outcome, Step
from .plan import Operation, Plan
from .remains import Remains
from .settling import Settled


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run."""

    plan: Plan
    ledger: Ledger
    settled: Settled
    remains: Remains

    @cached_property
    def exchanges(self) -> Mapping[int, Sequence[Exchange]]:
        """By operation."""
        return self.ledger.by_operation()

    @cached_property
    def jobs(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows of jobs by id."""
        return {row["id"]: row for row in self.remains.rows["jobs"]}

    @cached_property
    def jobs_of(self) -> Mapping[str, Sequence[str]]:
        """Ids of jobs by the name of the operation that they came of."""
        found: dict[str, list[str]] = defaultdict(list)
        for row in self.jobs.values():
            found[json.loads(row["request"])["asked"]["safety_identifier"]].append(row["id"])
        return found

    @cached_property
    def events(self) -> Mapping[str, Sequence[tuple[int, str]]]:
        """Number and kind of a job's events, in order."""
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for row in sorted(self.remains.rows["job_events"], key=lambda row: row["number"]):
            found[row["job_id"]].append((row["number"], row["kind"]))
        return found

    def told_jobs(self) -> Mapping[str, Operation]:
        """Every job that a client was told it has, with the operation it came of."""
        return {
            each.job: operation
            for operation in self.plan.operations
            for each in self.exchanges.get(operation.number, ())
            if each.job and each.step in (Step.SUBMIT, Step.DRAW) and each.outcome is Outcome.TOLD
        }

    def answers(self) -> Iterator[tuple[Operation, Answered]]:
        """Every answer with pictures, with the operation it was meant for."""
        by_name = {each.name: each for each in self.plan.operations}
        names = {job: name for name, jobs in self.jobs_of.items() for job in jobs}
        for exchange in self.ledger.exchanges:
            if exchange.answered is None:
                continue
            if exchange.operation != NO_OPERATION:
                yield self.plan.operations[exchange.operation], exchange.answered
            elif exchange.job in names:
                yield by_name[names[exchange.job]], exchange.answered


@dataclass(slots=True)
class Finding:
    """What a claim looked at, and what speaks against it."""

    checked: int
    against: list[str]


Claim = Callable[[Evidence], Iterator[str | int]]
"""Yields a number for how much was looked at, and a sentence for each fact that must not be."""
