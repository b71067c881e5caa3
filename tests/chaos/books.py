"""The claims about what was told: nothing lost, nothing twice, nobody else's.

Each claim is a function from the evidence of a run to how much it looked at and what speaks against it. It names what a
broken-off exchange leaves open and accepts that, and nothing else.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from .evidence import Evidence
from .ledger import Answered, Outcome, Step
from .plan import DELIVERED, Kind, Operation, Recipe
from .traffic import FINAL, STEPS

SERVED = DELIVERED | {Kind.PLAIN, Kind.HANG_UP, Kind.KEYED_JOB, Kind.HEARD_JOB}
KEYED = DELIVERED | {Kind.KEYED_JOB, Kind.HEARD_JOB, Kind.CANCELLED}
REFUSALS = {Kind.REFUSED: "moderation_blocked", Kind.CRISIS: "crisis_support"}


def nothing_accepted_is_lost(run: Evidence) -> Iterator[str | int]:
    """A job that was told of has ended well; who has a key has been served; who was broken off is served now."""
    for job, operation in run.told_jobs().items():
        yield 1
        row = run.jobs.get(job)
        wanted = ("succeeded", "cancelled") if operation.kind is Kind.CANCELLED else ("succeeded",)
        if row is None:
            yield f"job {job} of operation {operation.number} is in no row"
        elif row["state"] not in wanted:
            yield f"job {job} of operation {operation.number} ({operation.kind}) is {row['state']}: {row['error']}"
    served = {operation.number for operation, _ in run.answers()}
    for operation in run.plan.operations:
        if operation.kind in SERVED:
            yield 1
            if operation.number not in served:
                yield f"operation {operation.number} ({operation.kind}) was never given its pictures"


def nothing_is_completed_twice(run: Evidence) -> Iterator[str | int]:
    """One job for each key, one success and one set of pictures for each job, the same bytes whenever it is asked."""
    yield len(run.jobs)
    yield from _ends_of_jobs(run)
    yield from _jobs_of_operations(run)
    for name, digests in _told_files(run).items():
        yield 1
        if len(digests) > 1:
            yield f"{name} was answered with {len(digests)} different sets of pictures"


def _ends_of_jobs(run: Evidence) -> Iterator[str]:
    pictures = Counter(row["job_id"] for row in run.remains.rows["job_pictures"])
    for job, row in run.jobs.items():
        succeeded = row["state"] == "succeeded"
        endings = [kind for _, kind in run.events[job] if kind in FINAL]
        if endings != [row["state"]]:
            yield f"job {job} is {row['state']} and its events tell of {endings}"
        wanted = json.loads(row["request"])["asked"].get("n", 1) if succeeded else 0
        if pictures[job] != wanted:
            yield f"job {job} is {row['state']} and has {pictures[job]} pictures instead of {wanted}"
    for each in run.ledger.exchanges:
        ended = run.jobs.get(each.job or "") if each.step is not Step.SPY and each.state in FINAL else None
        if ended is not None and ended["state"] != each.state:
            yield f"job {each.job} was told to be {each.state} and is {ended['state']}"


def _jobs_of_operations(run: Evidence) -> Iterator[str]:
    for operation in run.plan.operations:
        jobs = run.jobs_of.get(operation.name, ())
        sent = [each for each in run.exchanges.get(operation.number, ()) if each.step in (Step.SUBMIT, Step.DRAW)]
        arrived = sum(each.outcome is not Outcome.NEVER_ARRIVED for each in sent)
        if operation.kind in KEYED and len(jobs) != 1:
            yield f"the key of operation {operation.number} stands for {len(jobs)} jobs"
        elif operation.kind is Kind.JOB and len(jobs) > arrived:
            yield f"operation {operation.number} was sent {arrived} times and became {len(jobs)} jobs"
        elif not operation.kind.keeps and jobs:
            yield f"operation {operation.number} ({operation.kind}) became a job"


def nobody_gets_anothers(run: Evidence) -> Iterator[str | int]:
    """Every answer is of this request by what it says, by what its label says, and by what it shows."""
    shown: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    for operation, answered in run.answers():
        yield 1
        if operation.recipe is None:
            yield f"operation {operation.number} ({operation.kind}) was answered with pictures"
            continue
        for fact in _differences(operation, operation.recipe, answered):
            yield f"operation {operation.number} ({operation.kind}): {fact}"
        shown[operation.recipe.number].add(tuple(each.pixels for each in answered.pictures))
    for recipe, pictures in shown.items():
        if len(pictures) > 1:
            yield f"recipe {recipe} shows {len(pictures)} different pictures"
    whose = Counter(pixels for pictures in shown.values() for each in pictures for pixels in set(each))
    for pixels, count in whose.items():
        if count > 1:
            yield f"{count} recipes show the same picture {pixels[:12]}"


def what_must_be_refused_is(run: Evidence) -> Iterator[str | int]:
    """Refused prompts are refused, texts are classified rightly, and another tenant's job is not there."""
    for operation in run.plan.operations:
        for each in run.exchanges.get(operation.number, ()):
            if each.outcome is not Outcome.TOLD or each.status in (429, 502, 503):
                continue
            yield 1
            if operation.kind in REFUSALS and (each.status, each.code) != (400, REFUSALS[operation.kind]):
                yield f"operation {operation.number} ({operation.kind}) was answered {each.status} {each.code}"
            if operation.kind is Kind.FOREIGN and each.status != 404:
                yield f"operation {operation.number} was told of another tenant's job: {each.status}"
            if operation.kind is Kind.MODERATED and each.flagged != operation.flagged:
                yield f"operation {operation.number}: its text was classified {each.flagged}"
        digests = {each.digest for each in run.exchanges.get(operation.number, ()) if each.digest}
        if operation.keyed and len(digests) > 1:
            yield f"the key of moderation {operation.number} was answered in {len(digests)} ways"


def every_failure_has_a_reason(run: Evidence) -> Iterator[str | int]:
    """Whatever fails is told as a fact: nothing was unforeseen."""
    for each in run.ledger.exchanges:
        if each.outcome is Outcome.TOLD and each.status is not None and each.status >= 400:
            yield 1
            if each.status == 500 or each.code is None:
                yield f"operation {each.operation} ({each.step}) was answered {each.status} {each.code}"


def a_listener_hears_everything_once(run: Evidence) -> Iterator[str | int]:
    """Events are numbered without gaps, and heard so over however many connections."""
    for job, row in run.jobs.items():
        yield 1
        numbers = [number for number, _ in run.events[job]]
        if numbers != list(range(2, row["events"] + 1)):
            yield f"the events of job {job} are numbered {numbers}, its row says {row['events']}"
    for job, heard in run.ledger.heard.items():
        yield 1
        happened = [(1, "queued"), *run.events[job]]
        if heard != happened[: len(heard)]:  # a client that lost its patience has not heard the end
            yield f"of job {job} was heard {heard}"


def _told_files(run: Evidence) -> Mapping[str, set[tuple[str, ...]]]:
    """The different sets of files that each key, and each job, was answered with."""
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for each in run.ledger.exchanges:
        if each.answered is None:
            continue
        files = tuple(picture.digest for picture in each.answered.pictures)
        if each.job:
            found[f"job {each.job}"].add(files)
        elif each.step is Step.DRAW and run.plan.operations[each.operation].kind in DELIVERED:
            found[f"the key of operation {each.operation}"].add(files)
    return found


def _differences(operation: Operation, recipe: Recipe, answered: Answered) -> Iterator[str]:
    """What of an answer is not this operation's."""
    seeds = tuple(recipe.seed + number for number in range(recipe.pictures))
    wanted = {
        "identifier": operation.name,
        "seeds": seeds,
        "steps": STEPS,
        "output_format": recipe.output_format,
        "revised": "@" in recipe.prompt,
    }
    for name, value in wanted.items():
        if (told := getattr(answered, name)) != value:
            yield f"{name} is {told!r} instead of {value!r}"
    if len(answered.pictures) != recipe.pictures:
        yield f"{len(answered.pictures)} pictures came instead of {recipe.pictures}"
    for seed, picture in zip(seeds, answered.pictures, strict=False):
        if not (picture.intact and picture.is_labelled_for(seed)):
            yield "a picture's label is not whole, or of another seed"
        if (picture.request_id, picture.model_digest) != (answered.drawn_by, answered.model_digest):
            yield "a picture's label names another request or model than the answer"
        if (picture.format, picture.size) != (recipe.output_format, answered.size):
            yield f"a picture is {picture.format} of {picture.size}"
