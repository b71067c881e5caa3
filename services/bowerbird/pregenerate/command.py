"""The command: a table, a gateway, and what became of it.

Exit codes: 0 every row is there, 1 something broke, 2 wrong usage or no table, 3 rows were refused (the file of
problems says which and why), 4 the gateway is not there or too busy for longer than one is patient, 130 interrupted.
After any of them the same command goes on with what is missing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from bowerbird.client import AsyncClient
from bowerbird.client.to_files import EXIT_DRAWN, EXIT_FAILED, EXIT_REFUSED, EXIT_TRY_AGAIN, exit_code
from bowerbird.errors import BowerbirdError
from bowerbird.pregenerate.filling import Filled, Filling, GivenUp, Terms
from bowerbird.pregenerate.problems import ProblemFile
from bowerbird.pregenerate.progress import RunProgress, Tally
from bowerbird.pregenerate.rows import TableUnreadable, read_rows

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
ROW_SECONDS = 3_600.0
"""For one row, waiting included: somebody at a screen goes first for as long as there is somebody."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed."""

    table: Path
    problems: Path
    terms: Terms
    as_json: bool


def pregenerate(wanted: Wanted, url: str, key: str | None) -> int:
    """Fills the gateway's cache from the table, says how it went; returns the exit code."""
    console = Console(stderr=True)
    try:
        tally = Tally(sum(1 for _ in read_rows(wanted.table)))  # nothing is drawn of a table that ends in the middle
        with ProblemFile(wanted.problems) as problems, RunProgress(console, tally) as progress:
            ended = _run(wanted, url, key, Filled(tally, progress, problems))
            progress.say(f"{tally}.")
            if problems.count:
                progress.say(f"{problems.count} problems are in {problems.path}.")
    except (TableUnreadable, OSError) as error:
        console.print(f"{wanted.table}: {error}", highlight=False, soft_wrap=True)
        return EXIT_USAGE
    if wanted.as_json:
        sys.stdout.write(json.dumps({**asdict(tally), "exit_code": ended}) + "\n")
    return ended


def _run(wanted: Wanted, url: str, key: str | None, filled: Filled) -> int:
    try:
        asyncio.run(_fill(wanted, url, key, filled))
    except KeyboardInterrupt:
        filled.progress.say("Interrupted; the same command goes on.")
        return EXIT_INTERRUPTED
    except GivenUp as stop:
        filled.progress.say(f"{stop.error.message} Given up; the same command goes on.")
        return EXIT_TRY_AGAIN
    except BowerbirdError as error:
        filled.progress.say(error.message)
        return exit_code(error)
    if filled.tally.failed:
        return EXIT_FAILED
    return EXIT_REFUSED if filled.tally.refused else EXIT_DRAWN


async def _fill(wanted: Wanted, url: str, key: str | None, filled: Filled) -> None:
    async with AsyncClient(url, key, timeout_seconds=ROW_SECONDS, max_retries=0) as client:
        await Filling(client, wanted.terms, filled).run(read_rows(wanted.table))
