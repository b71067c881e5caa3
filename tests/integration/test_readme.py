"""Every example of the README, run as it stands there against the real chain."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..embedded_stack import RunningStack

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```(python|sh)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
WRITTEN_ADDRESS = "http://127.0.0.1:8000"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples run in one folder: a later one reads what an earlier one has drawn."""
    return tmp_path_factory.mktemp("readme")


def test_the_readme_has_examples() -> None:
    assert {language for language, _ in EXAMPLES} == {"python", "sh"}


@pytest.mark.parametrize(("language", "code"), EXAMPLES, ids=[code.strip()[:40] for _, code in EXAMPLES])
def test_an_example_works_as_it_stands(language: str, code: str, stack: RunningStack, folder: Path) -> None:
    assert WRITTEN_ADDRESS in code or "open(" in code
    stack.wait_until_ready()
    command = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
    run = subprocess.run(
        [*command, code.replace(WRITTEN_ADDRESS, stack.url)],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
