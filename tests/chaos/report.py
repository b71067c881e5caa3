"""What a run says of itself: figures for the record, and a table for the reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .accounts import DREW, without_entry
from .ledger import Outcome
from .plan import FaultKind
from .run import CLAIMS, Result


def figures(result: Result) -> dict[str, Any]:
    """One run as JSON."""
    run = result.evidence
    jobs = run.jobs.values()
    sources = Counter(answered.source for _, answered in run.answers())
    return {
        "setup": run.plan.setup,
        "seed": run.plan.seed,
        "seconds": result.seconds,
        "seconds_to_settle": run.settled.seconds,
        "operations": _counted(each.kind for each in run.plan.operations),
        "exchanges": _counted(each.outcome for each in run.ledger.exchanges),
        "statuses": _counted(str(each.status) for each in run.ledger.exchanges if each.outcome is Outcome.TOLD),
        "answers_with_pictures": {"drawn": sum(sources[each] for each in DREW), "all": sources.total()},
        "faults": _counted(
            f"{each.fault.trouble if each.fault.kind is FaultKind.LINK else each.fault.kind} {each.fault.target}"
            for each in run.ledger.faults
        ),
        "jobs": _counted(row["state"] for row in jobs),
        "jobs_begun_more_than_once": sum(row["attempts"] > 1 for row in jobs),
        "most_attempts_at_a_job": max((row["attempts"] for row in jobs), default=0),
        "answered_without_an_entry_of_usage": len(without_entry(run)),
        "files_of_the_dead_that_the_sweep_removed": run.remains.swept_files,
        "claims": {
            name: {"checked": finding.checked, "against": finding.against} for name, finding in result.findings.items()
        },
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The runs as Markdown, a column each."""
    rows: list[tuple[str, list[object]]] = [
        ("seed", [run["seed"] for run in runs]),
        ("operations", [sum(run["operations"].values()) for run in runs]),
        ("requests sent", [sum(run["exchanges"].values()) for run in runs]),
        ("… broken off, outcome unknown", [run["exchanges"].get(Outcome.BROKE_OFF, 0) for run in runs]),
        ("faults", [sum(run["faults"].values()) for run in runs]),
        ("jobs accepted", [sum(run["jobs"].values()) for run in runs]),
        ("… begun more than once", [run["jobs_begun_more_than_once"] for run in runs]),
        *[(f"{name}: against it", list[object](_verdict(run["claims"][name]) for run in runs)) for name in CLAIMS],
        ("seconds", [round(run["seconds"]) for run in runs]),
    ]
    head = f"| | {' | '.join(str(run['setup']) for run in runs)} |\n|---|{'---:|' * len(runs)}\n"
    return head + "".join(f"| {name} | {' | '.join(map(str, cells))} |\n" for name, cells in rows)


def _verdict(claim: Mapping[str, Any]) -> str:
    return f"**{len(claim['against'])}** of {claim['checked']}"


def _counted(items: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(map(str, items)).items()))
