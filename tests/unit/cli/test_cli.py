"""Facts about the command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bowerbird import __version__
from bowerbird.cli import app

HEAVY = ("torch", "numpy", "onnxruntime", "bentoml", "httpx2", "aiohttp", "opentelemetry", "starlette", "uvicorn")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from bowerbird.cli import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()).isdisjoint(HEAVY)


@pytest.mark.parametrize("command", ["up", "draw", "doctor", "gateway"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"bowerbird {__version__}\n"


def test_a_setting_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    monkeypatch.setenv("BOWERBIRD_PORT", "eighty")
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 2
    assert "BOWERBIRD_PORT" in result.stderr


def test_a_part_that_is_not_installed_is_named_with_its_extra() -> None:
    arguments = "sys.argv = ['bowerbird', 'train', '--help']"
    program = f"import sys; sys.modules['torch'] = None; {arguments}; from bowerbird.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "This needs torch; the extra 'training' brings it: uv sync --extra training\n"


@pytest.mark.parametrize("command", ["compile", "prepare", "inspect", "restore"])
def test_the_compilers_commands_are_mounted_with_their_own_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Usage: bowerbird {command}" in result.stdout


def test_what_is_no_bundle_is_said_by_the_compilers_own_command(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bowerbird.cli", "inspect", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "bundle.json cannot be read" in " ".join(run.stderr.split())
