"""`bowerbird pregenerate` as a process, before a gateway on a real socket whose stages are stand-ins."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bowerbird.contracts import Action, PromptCheck
from bowerbird.errors import StageFull
from bowerbird.gateway.app import create_app
from tests.unit.gateway.conftest import closed_url, opened, settings_for, until_ready
from tests.unit.gateway.stand_ins import StandIns, decision, served

MEGABYTES = 64_000_000
HEADER = "id,common_name,scientific_name,variation"


@pytest.fixture
def stages() -> StandIns:
    return StandIns()


@pytest.fixture
def gateway(stages: StandIns, tmp_path: Path) -> Iterator[httpx2.Client]:
    """A gateway that keeps what it draws."""
    with (
        served(stages.app()) as stages_url,
        served(create_app(settings_for(stages_url, tmp_path / "home", result_bytes=MEGABYTES))) as url,
        opened(url) as client,
    ):
        until_ready(client, "safety", "text-to-image", "curation")
        yield client


def table(folder: Path, *lines: str, rows: int = 0) -> Path:
    path = folder / "species.csv"
    robins = [f"american-robin,American robin,Turdus migratorius,{number}" for number in range(rows)]
    path.write_text("\n".join([HEADER, *lines, *robins]) + "\n")
    return path


def start(url: str, path: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bowerbird.cli", "pregenerate", str(path), "--url", url, "--json", *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "services"}, **pipes)


def run(url: str, path: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what it printed as JSON, and what it said."""
    process = start(url, path, *options)
    out, said = process.communicate(timeout=120)
    return process.returncode, json.loads(out) if out else {}, said


def problems(path: Path) -> list[dict[str, str]]:
    with path.with_name("species.problems.csv").open(newline="") as opened_file:
        return list(csv.DictReader(opened_file))


def draws(stages: StandIns) -> int:
    return len(stages.asked("/draw"))


def test_a_killed_run_is_taken_up_where_it_was(gateway: httpx2.Client, stages: StandIns, tmp_path: Path) -> None:
    path = table(tmp_path, rows=24)
    stages.behaviour.seconds_per_step = 0.01
    process = start(str(gateway.base_url), path, "--in-flight", "2")
    while draws(stages) < 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = draws(stages)
    code, told, _ = run(str(gateway.base_url), path, "--in-flight", "2")

    assert code == 0
    assert told["drawn"] + told["fresh"] == told["rows"] == 24
    assert told["fresh"] >= before - 2  # what was under way is drawn again
    assert draws(stages) <= 24 + 2
    assert {each.headers["bowerbird-class"] for each in stages.asked("/draw")} == {"batch"}
    assert run(str(gateway.base_url), path)[1]["fresh"] == 24
    assert draws(stages) <= 24 + 2


def test_rows_that_are_refused_are_written_down_and_the_others_are_drawn(
    gateway: httpx2.Client, stages: StandIns, tmp_path: Path
) -> None:
    def decide(check: PromptCheck) -> Any:
        return decision(check, Action.BLOCK if "Cuckoo" in check.prompt else Action.ALLOW)

    stages.behaviour.decide = decide
    bad = ("x,y", "cuckoo,Cuckoo,Cuculus canorus,0", "robin,robin 2,Turdus migratorius,0", "robin,Robin,turdus,0")
    code, told, said = run(str(gateway.base_url), path := table(tmp_path, *bad, rows=3))

    assert (code, told["drawn"], told["refused"], told["failed"]) == (3, 3, 4, 0)
    found = {int(each["line"]): (each["column"], each["id"], each["status"], each["code"]) for each in problems(path)}
    assert found == {
        2: ("", "", "", "row_invalid"),
        3: ("common_name", "cuckoo", "400", "moderation_blocked"),
        4: ("common_name", "robin", "400", "invalid_value"),
        5: ("scientific_name", "robin", "400", "invalid_value"),
    }
    assert "4 problems are in" in said
    assert "7 of 7: 3 drawn, 0 fresh, 4 refused" in said


def test_who_is_told_to_wait_waits_as_long_as_it_was_told(
    gateway: httpx2.Client, stages: StandIns, tmp_path: Path
) -> None:
    full = [StageFull("Every slot is taken.", retry_after_seconds=1)] * 2
    told_at: list[float] = []

    def decide(check: PromptCheck) -> Any:
        told_at.append(time.monotonic())
        return decision(check)

    def answer() -> Any:
        told_at.append(time.monotonic())
        if len(full) == 1:
            del stages.behaviour.answers["/check_prompt"]
        return full.pop()

    stages.behaviour.decide = decide
    stages.behaviour.answers["/check_prompt"] = answer
    code, told, _ = run(str(gateway.base_url), table(tmp_path, rows=1))

    assert (code, told["drawn"]) == (0, 1)
    assert told_at[1] - told_at[0] >= 1
    assert told_at[2] - told_at[1] >= 1


def test_a_gateway_that_keeps_nothing_is_not_asked_to_draw(stages: StandIns, tmp_path: Path) -> None:
    with (
        served(stages.app()) as stages_url,
        served(create_app(settings_for(stages_url, tmp_path / "home"))) as url,
        opened(url) as client,
    ):
        until_ready(client, "safety", "text-to-image", "curation")
        code, _, said = run(url, table(tmp_path, rows=50), "--in-flight", "1")

    assert code == 1
    assert "none are stored here" in said
    assert not draws(stages)


def test_nobody_there_is_another_exit_code_and_nothing_is_lost(tmp_path: Path) -> None:
    code, told, said = run(closed_url(), table(tmp_path, rows=3), "--patience", "0")
    assert (code, told["drawn"]) == (4, 0)
    assert "the same command goes on" in said


def test_what_is_no_table_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "species.csv"
    path.write_text("id,name\n")
    code, told, said = run(closed_url(), path)
    assert (code, told) == (2, {})
    assert "line 1, column 2: 'name' is no column" in said
