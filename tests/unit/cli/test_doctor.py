"""Facts about `bowerbird doctor`."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bowerbird.cli import app
from bowerbird.embedded.doctor import report
from bowerbird.embedded.finding import Finding, Level, fail, ok, warn
from bowerbird.embedded.machine import examine_machine
from bowerbird.embedded.running import examine_running
from bowerbird.settings import Settings

from ..client.conftest import Gateway, gateway  # noqa: F401 - the fixture


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_the_machine_that_runs_the_tests_could_serve(tmp_path: Path) -> None:
    found = by_subject(examine_machine(Settings(home=tmp_path / "new", model=tmp_path, judge=tmp_path)))
    for subject in ("Python", "instruction set", "disk"):
        assert found[subject].level is Level.OK, found[subject]
    assert {"cores", "memory", "packages", "bytecode"} <= found.keys()


def test_a_folder_that_is_no_bundle_fails_with_advice(tmp_path: Path) -> None:
    found = by_subject(examine_machine(Settings(home=tmp_path, model=tmp_path, judge=tmp_path)))
    assert found["model"].level is Level.FAIL
    assert "bundle.json" in found["model"].fact
    assert "BOWERBIRD_MODEL" in found["model"].advice


def test_without_a_stack_the_port_and_the_way_to_start_one_are_told(tmp_path: Path) -> None:
    found = by_subject(examine_running(Settings(home=tmp_path, port=0)))
    assert found["port"].level is Level.OK
    assert found["gateway"].level is Level.WARN
    assert "make up" in found["gateway"].advice


def test_a_taken_port_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        found = by_subject(examine_running(Settings(home=tmp_path, port=holder.getsockname()[1])))
    assert found["port"].level is Level.FAIL


def test_a_running_stack_is_measured_by_drawing(tmp_path: Path, gateway: Gateway) -> None:  # noqa: F811
    (tmp_path / "gateway.json").write_text(json.dumps({"url": gateway.url, "pid": 1}))
    found = by_subject(examine_running(Settings(home=tmp_path)))
    assert [found[name].level for name in ("gateway", "safety", "drawing")] == [Level.OK] * 3
    assert "60 ms a step" in found["drawing"].fact  # 1.2 s of denoising in 20 steps


@pytest.mark.parametrize("content", ["", "[]", '{"url": 3}', '{"url": "http://127.0.0.1:9"}'])
def test_a_stale_address_is_no_running_stack(tmp_path: Path, content: str) -> None:
    (tmp_path / "gateway.json").write_text(content)
    assert by_subject(examine_running(Settings(home=tmp_path, port=0)))["gateway"].level is Level.WARN


def test_only_a_failure_makes_a_report_unhealthy() -> None:
    console = Console(file=io.StringIO(), width=80)
    assert report([ok("a", "well"), warn("b", "slow", "wait")], console, as_json=False)
    assert not report([ok("a", "well"), fail("c", "broken", "repair it")], console, as_json=False)


def test_the_report_says_what_to_do(tmp_path: Path) -> None:
    output = io.StringIO()
    report([fail("c", "broken", "repair it")], Console(file=output, width=80), as_json=False)
    assert output.getvalue().split() == ["fail", "c", "broken", "repair", "it"]


def test_the_command_prints_json_and_fails_when_something_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    monkeypatch.setenv("BOWERBIRD_MODEL", str(tmp_path))
    monkeypatch.setenv("BOWERBIRD_PORT", "0")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert {"subject": "port", "level": "ok", "fact": "a free one will be taken", "advice": ""} in json.loads(
        result.stdout
    )
