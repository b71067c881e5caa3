"""Facts about `bowerbird draw`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bowerbird.cli import app
from bowerbird.embedded.ports import free_ports
from bowerbird.errors import BowerbirdError, PromptRefused, StageUnavailable

from .conftest import TRACE_ID, Gateway


def draw(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["draw", "a blue jay", *arguments])


def test_one_picture_gets_the_name_it_was_given(gateway: Gateway, tmp_path: Path) -> None:
    result = draw("--url", gateway.url, "-o", str(tmp_path / "new" / "jay.png"), "--seed", "5")
    assert result.exit_code == 0
    assert (tmp_path / "new" / "jay.png").read_bytes() == b"picture 0"
    assert "seed 5" in result.stderr


def test_several_pictures_are_numbered_and_the_suffix_says_the_format(gateway: Gateway, tmp_path: Path) -> None:
    result = draw("--url", gateway.url, "-o", str(tmp_path / "jay.jpg"), "--n", "3")
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jay-1.jpg", "jay-2.jpg", "jay-3.jpg"]
    assert gateway.asked[0]["output_format"] == "jpeg"


def test_json_says_everything_and_nothing_else(gateway: Gateway, tmp_path: Path) -> None:
    result = draw("--url", gateway.url, "-o", str(tmp_path / "jay.webp"), "--json")
    told = json.loads(result.stdout)
    assert told["trace_id"] == TRACE_ID
    assert told["pictures"][0] == {
        "path": str(tmp_path / "jay.webp"),
        "media_type": "image/webp",
        "seed": 7,
        "scores": {"sharpness": 0.5},
    }


def test_every_option_reaches_the_gateway(gateway: Gateway, tmp_path: Path) -> None:
    options = {"size": "256x256", "steps": 4, "candidates": 2, "guidance_scale": 2.5, "negative_prompt": "blur"}
    arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert draw("--url", gateway.url, "-o", str(tmp_path / "jay.png"), *arguments).exit_code == 0
    assert gateway.asked[0].items() >= options.items()


def test_an_unknown_suffix_is_refused_before_anything_is_asked(gateway: Gateway, tmp_path: Path) -> None:
    result = draw("--url", gateway.url, "-o", str(tmp_path / "jay.tiff"))
    assert result.exit_code == 3
    assert "'jay.tiff' does not end in one of .png, .webp, .jpg, .jpeg" in result.stderr
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("fact", "code"),
    [
        (PromptRefused("Safety refused the prompt."), 3),
        (StageUnavailable("text-to-image is starting."), 4),
        (BowerbirdError("Broken."), 1),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(gateway: Gateway, fact: BowerbirdError, code: int) -> None:
    gateway.error = fact
    result = draw("--url", gateway.url, "--timeout", "1")
    assert (result.exit_code, result.stderr) == (code, fact.message + "\n")


def test_the_gateway_of_the_home_is_found_without_being_named(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    (tmp_path / "gateway.json").write_text(json.dumps({"url": gateway.url, "pid": 1}))
    assert draw("-o", str(tmp_path / "jay.png")).exit_code == 0


def test_nobody_there_says_how_to_start_one(tmp_path: Path) -> None:
    result = draw("--url", f"http://127.0.0.1:{free_ports(1)[0]}", "-o", str(tmp_path / "jay.png"), "--timeout", "1")
    assert result.exit_code == 4
    assert "bowerbird up" in result.stderr
