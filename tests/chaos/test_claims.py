"""Each claim finds what it is there to find: evidence of a good run, and the same with one thing planted in it."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from .accounts import usage_adds_up
from .evidence import Evidence
from .ledger import Answered, Exchange, Ledger, Outcome, Step, Struck
from .picture import Picture
from .plan import DISK, GATEWAYS, Fault, FaultKind, Kind, Operation, Plan, Recipe, Setup
from .remains import Remains
from .run import CLAIMS, check
from .settling import Settled

JOB = "job_1"
DRAWN_BY = "req_1"
RECIPE = Recipe(0, "a blue jay in flight in spring near Word", "Word", 7, 1, "png")
OTHER = replace(RECIPE, number=1, seed=9)


def picture(recipe: Recipe, drawn_by: str) -> Picture:
    seed_digest = hmac.new(drawn_by.encode(), str(recipe.seed).encode(), hashlib.sha256).hexdigest()
    return Picture(
        digest=f"file of {recipe.number}",
        pixels=f"pixels of {recipe.number}",
        format="png",
        size="256x256",
        intact=True,
        request_id=drawn_by,
        seed_digest=f"sha256:{seed_digest}",
        model_digest="model",
    )


def exchange(operation: Operation, drawn_by: str, **more: Any) -> Exchange:
    """An answer as it should be."""
    assert operation.recipe is not None
    answered = Answered(
        identifier=operation.name,
        seeds=(operation.recipe.seed,),
        source="drawn",
        drawn_by=drawn_by,
        model_digest="model",
        size="256x256",
        steps=2,
        output_format="png",
        revised=False,
        pictures=(picture(operation.recipe, drawn_by),),
    )
    return Exchange(operation.number, Step.DRAW, 0, 1.0, 2.0, Outcome.TOLD, 200, answered=answered, **more)


def good_run() -> Evidence:
    """A job under a key, and a plain request."""
    keyed = Operation(0, Kind.KEYED_JOB, 0, 0, RECIPE)
    plain = Operation(1, Kind.PLAIN, 0, 0, OTHER)
    submitted = Exchange(0, Step.SUBMIT, 0, 1.0, 1.1, Outcome.TOLD, 202, job=JOB, state="queued")
    fetched = replace(exchange(keyed, JOB), step=Step.RESULT, job=JOB)
    ledger = Ledger([submitted, fetched, exchange(plain, DRAWN_BY, request_id=DRAWN_BY)])
    row = {
        "id": JOB,
        "tenant": "key-a",
        "state": "succeeded",
        "events": 3,
        "error": None,
        "cost": 2.0,
        "attempts": 1,
        "request": json.dumps({"asked": {"safety_identifier": keyed.name, "n": 1}}),
        "result": json.dumps({"body": {"bowerbird": {"source": "drawn"}}}),
    }
    entry = {"tenant": "key-a", "compute_units": 2.0, "pixels": 65_536, "pictures": 1}
    rows: dict[str, list[dict[str, Any]]] = {
        "jobs": [row],
        "job_events": [
            {"job_id": JOB, "number": 2, "kind": "running"},
            {"job_id": JOB, "number": 3, "kind": "succeeded"},
        ],
        "job_pictures": [{"job_id": JOB, "key": f"jobs/{JOB}/1-0", "digest": "sha256:file of 0"}],
        "usage_entries": [{"work_id": JOB, **entry}, {"work_id": DRAWN_BY, **entry}],
        "results": [],
        "results_ledger": [{"bytes": 0}],
    }
    day = {"requests": 2, "compute_units": 4.0, "pixels": 131_072, "pictures": 2}
    remains = Remains(rows, {f"jobs/{JOB}/1-0": "file of 0"}, 0, 0, [], [], 0)
    return Evidence(
        Plan(1, Setup.SQLITE, (keyed, plain), ()), ledger, Settled({}, [{0: [day], 1: [], 2: []}], 0.0), remains
    )


def changed(run: Evidence, table: str, **columns: Any) -> Evidence:
    """The same with other values in a table's first row."""
    rows = {name: [dict(row) for row in of_table] for name, of_table in run.remains.rows.items()}
    rows[table][0].update(columns)
    return replace(run, remains=replace(run.remains, rows=rows))


def without(run: Evidence, table: str) -> Evidence:
    """The same without a table's first row."""
    rows = {**run.remains.rows, table: run.remains.rows[table][1:]}
    return replace(run, remains=replace(run.remains, rows=rows))


def doubled(run: Evidence, table: str, **columns: Any) -> Evidence:
    """The same with a table's first row twice, the second time with other values."""
    first = run.remains.rows[table][0]
    rows = {**run.remains.rows, table: [*run.remains.rows[table], {**first, **columns}]}
    return replace(run, remains=replace(run.remains, rows=rows))


def told(run: Evidence, number: int, **answer: Any) -> Evidence:
    """The same with another answer in an exchange."""
    ledger = copy.deepcopy(run.ledger)
    answered = ledger.exchanges[number].answered
    assert answered is not None
    ledger.exchanges[number] = replace(ledger.exchanges[number], answered=replace(answered, **answer))
    return replace(run, ledger=ledger)


def of_another_seed(run: Evidence) -> Evidence:
    label = picture(replace(OTHER, seed=RECIPE.seed), DRAWN_BY)
    return told(run, 2, pictures=(replace(label, pixels="pixels of 1"),))


def showing_another_picture(run: Evidence) -> Evidence:
    return told(run, 2, pictures=(replace(picture(OTHER, DRAWN_BY), pixels="pixels of 0"),))


def with_remains(run: Evidence, **changes: Any) -> Evidence:
    return replace(run, remains=replace(run.remains, **changes))


PLANTED: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a job is gone": ("lost", lambda run: without(run, "jobs")),
    "a job failed": ("lost", lambda run: changed(run, "jobs", state="failed")),
    "a client is never served": (
        "lost",
        lambda run: replace(run, ledger=replace(run.ledger, exchanges=run.ledger.exchanges[:2])),
    ),
    "a key is two jobs": ("twice", lambda run: doubled(run, "jobs", id="job_2")),
    "a job succeeded twice": ("twice", lambda run: doubled(run, "job_events", number=4, kind="succeeded")),
    "a job's pictures are there twice": ("twice", lambda run: doubled(run, "job_pictures", key="jobs/job_1/2-0")),
    "an answer of another request": ("another's", lambda run: told(run, 2, identifier="operation-0")),
    "an answer of another seed": ("another's", lambda run: told(run, 1, seeds=(8,))),
    "a label of another seed": ("another's", of_another_seed),
    "another's picture with the right label": ("another's", showing_another_picture),
    "usage that nobody had": ("usage", lambda run: doubled(run, "usage_entries", work_id="req_unknown")),
    "usage that nobody wrote down": ("usage", lambda run: without(run, "usage_entries")),
    "usage that a gateway gave up": ("usage", lambda run: with_remains(run, unwritten_lines=1)),
    "usage of another tenant's": ("usage", lambda run: changed(run, "usage_entries", compute_units=3.0)),
    "a file that no row names": (
        "left behind",
        lambda run: with_remains(run, files={**run.remains.files, "jobs/a/1-0": ""}),
    ),
    "a row whose file is gone": ("left behind", lambda run: with_remains(run, files={})),
    "an altered file": ("left behind", lambda run: with_remains(run, files={f"jobs/{JOB}/1-0": "altered"})),
    "a job without an end": ("left behind", lambda run: changed(run, "jobs", state="running")),
    "a prompt in a log": ("left behind", lambda run: with_remains(run, texts=["a prompt in gateway.log"])),
    "a process": ("left behind", lambda run: with_remains(run, processes=["1 bentoml"])),
    "a gap between events": ("hears", lambda run: changed(run, "job_events", number=1)),
}


def test_nothing_speaks_against_a_good_run() -> None:
    findings = check(good_run())
    assert {name: finding.against for name, finding in findings.items()} == {name: [] for name in CLAIMS}


@pytest.mark.parametrize(("claim", "plant"), PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(claim: str, plant: Callable[[Evidence], Evidence]) -> None:
    findings = check(plant(good_run()))
    assert any(claim in name for name, finding in findings.items() if finding.against)


@pytest.mark.parametrize(("killed_at", "missing"), [(2.5, False), (20.0, False), (60.0, True)])
def test_an_entry_is_lost_only_with_its_gateway_while_it_waited(killed_at: float, missing: bool) -> None:
    run = good_run()  # the answer ended at 2.0, while the disk was full
    rows = {**run.remains.rows, "usage_entries": run.remains.rows["usage_entries"][:1]}
    faults = [(FaultKind.FULL_DISK, DISK, 1.0, 10.0), (FaultKind.KILL, GATEWAYS[0], killed_at, killed_at + 1.0)]
    run.ledger.faults += [
        Struck(Fault(number, kind, target, 0, 0.0, 1.0, together=True), began_at, ended_at)
        for number, (kind, target, began_at, ended_at) in enumerate(faults)
    ]
    said = list(usage_adds_up(with_remains(run, rows=rows)))
    assert ("1 answered requests have no entry" in said) is missing
