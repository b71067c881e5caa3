"""The claims about usage: what was used is written down once, and adds up.

What is certain. A job that succeeded has one entry, in the transaction of its success; any other job has none. Nothing
has two. What a gateway tells is the sum of the entries.

What is not certain, and is bounded. A plain request's entry is written while its answer leaves, and nobody waits for
it: while the database is away, entries wait in memory until it is back. So an answered request lacks its entry only
when its gateway was killed within a moment, or while entries waited. A plain request whose answer broke off may have an
entry or not, at most one for each time it was sent. Nothing else has an entry, and no gateway says that it lost one.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from .evidence import Evidence
from .ledger import Exchange, Outcome, Step
from .plan import DATABASE, DISK, EVERYTHING, GATEWAYS, KILLS, TENANTS

DREW = frozenset({"drawn", "fresh"})
MOMENT_SECONDS = 1.0
"""Within which an entry is committed, when the database is there."""
AGAIN_SECONDS = 16.0
"""Within which entries that waited are committed once the database is back: a little above the longest pause between
two tries (`records.usage_buffer.LONGEST_WAIT_SECONDS`)."""
UNITS = 1e-6
"""Relative; sums of floats are in no certain order."""


def usage_adds_up(run: Evidence) -> Iterator[str | int]:
    """Every entry has its reason, every reason its entry, and what /v1/usage says is their sum, at each gateway."""
    entries = {row["work_id"]: row for row in run.remains.rows["usage_entries"]}
    if strangers := {row["tenant"] for row in entries.values()} - _tenants(run).keys():
        yield f"entries are of {len(strangers)} tenants whom nobody speaks for"
        return
    yield len(entries)
    yield from _of_jobs(run, entries)
    yield from _of_requests(run, entries)
    yield from _as_told(run, entries)


def without_entry(run: Evidence) -> list[Exchange]:
    """Answered requests that have no entry."""
    entries = {row["work_id"] for row in run.remains.rows["usage_entries"]}
    return [each for each in _plain(run) if each.request_id not in entries]


def _of_jobs(run: Evidence, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for job, row in run.jobs.items():
        entry = entries.get(job)
        if (entry is not None) != (row["state"] == "succeeded"):
            yield f"job {job} is {row['state']} and has {'an' if entry else 'no'} entry"
        elif entry is not None:
            source = json.loads(row["result"])["body"]["bowerbird"]["source"]
            wanted = row["cost"] if source in DREW else 0.0
            asked = json.loads(row["request"])["asked"].get("n", 1)
            if (entry["tenant"], entry["pictures"]) != (row["tenant"], asked):
                yield f"the entry of job {job} is of another tenant, or of {entry['pictures']} pictures"
            if abs(entry["compute_units"] - wanted) > UNITS * max(wanted, 1.0):
                yield f"the entry of job {job} ({source}) says {entry['compute_units']} units instead of {wanted}"


def _of_requests(run: Evidence, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    tenants = _tenants(run)
    told = {each.request_id: each for each in _plain(run)}
    broken = Counter(_tenant_of(run, each) for each in _indeterminate(run))
    unexplained: Counter[int] = Counter()
    for work_id, entry in entries.items():
        if work_id in run.jobs:
            continue
        tenant = tenants[entry["tenant"]]
        exchange = told.get(work_id)
        if exchange is None:
            unexplained[tenant] += 1
        else:
            yield from _of_answer(run, exchange, entry, tenant)
    for tenant, count in unexplained.items():
        if count > broken[tenant]:
            yield f"{count} entries of tenant {tenant} are of requests that nobody sent; {broken[tenant]} broke off"
    if missing := sum(not _was_killed(run, each) for each in without_entry(run)):
        yield f"{missing} answered requests have no entry"
    if run.remains.unwritten_lines:
        yield f"{run.remains.unwritten_lines} log lines say that usage was not written down"


def _was_killed(run: Evidence, exchange: Exchange) -> bool:
    """Whether the gateway that answered was killed before it can have written the entry."""
    gateway = GATEWAYS[exchange.gateway]
    kills = [each for each in run.ledger.faults if each.fault.kind in KILLS]
    killed_at = [each.began_at for each in kills if each.fault.target in (gateway, EVERYTHING)]
    written_at = _written_at(run, exchange.ended_at)
    return any(exchange.ended_at - MOMENT_SECONDS < at < written_at for at in killed_at)


def _written_at(run: Evidence, ended_at: float) -> float:
    """When the entry of an answer that ended then was surely committed, had its gateway lived."""
    written_at = ended_at + MOMENT_SECONDS
    for other in sorted(run.ledger.faults, key=lambda each: each.began_at):
        if other.fault.target in (DATABASE, DISK) and other.began_at < written_at:
            written_at = max(written_at, other.ended_at + AGAIN_SECONDS)
    return written_at


def _of_answer(run: Evidence, exchange: Exchange, entry: Mapping[str, Any], tenant: int) -> Iterator[str]:
    assert exchange.answered is not None
    if tenant != _tenant_of(run, exchange) or entry["pictures"] != len(exchange.answered.pictures):
        yield f"the entry of request {exchange.request_id} is another one's"
    if (entry["compute_units"] > 0) != (exchange.answered.source in DREW):
        yield f"request {exchange.request_id} ({exchange.answered.source}) cost {entry['compute_units']} units"


def _as_told(run: Evidence, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    tenants = _tenants(run)
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    for entry in entries.values():
        of_tenant = sums[tenants[entry["tenant"]]]
        of_tenant.update(requests=1, pictures=entry["pictures"], pixels=entry["pixels"])
        of_tenant["compute_units"] += entry["compute_units"]
    for gateway, usage in enumerate(run.settled.usage):
        for tenant in range(TENANTS):
            for name in ("requests", "pictures", "pixels", "compute_units"):
                told = sum(day[name] for day in usage[tenant])
                if abs(told - sums[tenant][name]) > UNITS * max(told, 1):
                    yield f"gateway {gateway} tells {told} {name} of tenant {tenant}, entries say {sums[tenant][name]}"


def _plain(run: Evidence) -> list[Exchange]:
    """Requests that are no job and were answered with pictures."""
    return [each for each in run.ledger.exchanges if each.answered and _is_plain(run, each)]


def _indeterminate(run: Evidence) -> list[Exchange]:
    """The same, broken off."""
    return [each for each in run.ledger.exchanges if each.outcome is Outcome.BROKE_OFF and _is_plain(run, each)]


def _is_plain(run: Evidence, exchange: Exchange) -> bool:
    if exchange.step is Step.DRAW:
        return not run.plan.operations[exchange.operation].kind.keeps
    return exchange.step is Step.REDRAW


def _tenant_of(run: Evidence, exchange: Exchange) -> int:
    return run.plan.operations[exchange.operation].tenant


def _tenants(run: Evidence) -> Mapping[str, int]:
    """What a tenant is called in the rows -> its number, as what it was told of says."""
    entries = {row["work_id"]: row for row in run.remains.rows["usage_entries"]}
    found = [(run.jobs[job]["tenant"], each.tenant) for job, each in run.told_jobs().items() if job in run.jobs]
    for each in _plain(run):
        if each.request_id in entries:
            found.append((entries[each.request_id]["tenant"], _tenant_of(run, each)))
    return dict(found)
