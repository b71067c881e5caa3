"""The claim about what remains: nothing that belongs to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence
from .traffic import FINAL


def nothing_is_left_behind(run: Evidence) -> Iterator[str | int]:
    """Every job has ended, files and rows name each other, no text is where it must not be, no process is left."""
    for job, row in run.jobs.items():
        yield 1
        if row["state"] not in FINAL:
            yield f"job {job} is {row['state']} and nobody works on it"
    yield from _files_and_rows(run)
    yield from _stored_results(run)
    yield from run.remains.texts
    for process in run.remains.processes:
        yield f"the process {process} still runs"


def _files_and_rows(run: Evidence) -> Iterator[str | int]:
    rows, files = run.remains.rows, run.remains.files
    named = {row["key"]: row["digest"].removeprefix("sha256:") for row in rows["job_pictures"]}
    stored = {f"results/{row['id']}-{number}" for row in rows["results"] for number in range(row["pictures"])}
    for key, digest in named.items():
        yield 1
        if files.get(key) != digest:
            yield f"the file {key} is {'altered' if key in files else 'gone'}"
    for key in stored - files.keys():
        yield f"the stored result {key} is gone"
    for key in files.keys() - named.keys() - stored:
        yield f"no row names the file {key}"
    if run.remains.drafts:
        yield f"{run.remains.drafts} files are half written"


def _stored_results(run: Evidence) -> Iterator[str]:
    rows = run.remains.rows
    for row in rows["results"]:
        if row["state"] != "ready":
            yield f"the stored result {row['id']} is {row['state']}"
    held = sum(row["bytes"] for row in rows["results"])
    for ledger in rows["results_ledger"]:
        if ledger["bytes"] != held:
            yield f"the results' ledger says {ledger['bytes']} bytes, its rows {held}"
