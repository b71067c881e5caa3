"""Facts about what a person or a program sees of `bowerbird up`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from bowerbird.embedded.child import Child, State
from bowerbird.embedded.display import Display, JsonLine, PlainLines, Summary, Terminal
from bowerbird.embedded.log import ServiceLog
from bowerbird.embedded.self_check import FirstPicture
from bowerbird.embedded.stack import Service
from bowerbird.embedded.supervisor import Death

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A service that says it is ready."""
    log = ServiceLog(tmp_path / "logs", "safety")
    log.write("no policy to be found")
    child = Child(Service("safety", "http://127.0.0.1:1", ("true",), {}), log, "0" * 32)
    child.state, child.ready_seconds = State.READY, 1.25
    yield child
    log.close()


def summary(child: Child, picture: FirstPicture | None) -> Summary:
    return Summary("http://127.0.0.1:8000", "0" * 32, Path("/home"), 7.5, [child], picture)


PICTURE = FirstPicture(
    Path("out/first.png"), 1.5, {"draw": 1.2, "draw.denoise": 1.0, "judge": 0.1}, TRACE_ID, {"sharpness": 0.5}
)


def tell_everything(display: Display, child: Child) -> None:
    display.starting([child])
    display.died(Death(child, "exit code 1", 0.5))
    display.drawing()
    display.ready(summary(child, PICTURE))
    display.died(Death(child, "killed by SIGKILL", None))
    display.stopping()
    display.failed("safety died 4 times in a row.")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_person_is_told_where_to_go_and_what_went_wrong(child: Child, terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, color_system=None, width=100)
    tell_everything(Terminal(console) if terminal else PlainLines(console), child)
    told = output.getvalue()
    for fact in (
        "safety died (exit code 1); starting again in 0.5 s",
        "safety died (killed by SIGKILL); not started again",
        "safety | no policy to be found",
        "out/first.png after 1.5 s",
        "draw 1200 ms (denoise 1000), judge 100 ms",
        TRACE_ID,
        "curl http://127.0.0.1:8000/v1/images/generations -H 'Content-Type: application/json'",
        'client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="local")',
        "safety died 4 times in a row.",
    ):
        assert fact in told


def test_what_is_to_be_copied_is_not_broken_by_a_narrow_terminal(child: Child) -> None:
    output = io.StringIO()
    display = Terminal(Console(file=output, force_terminal=True, color_system=None, width=40))
    display.starting([child])
    display.ready(summary(child, None))
    assert summary(child, None).curl in output.getvalue().splitlines()


def test_the_snippet_is_python_and_the_curl_line_is_one_line(child: Child) -> None:
    compile(summary(child, None).snippet, "snippet", "exec")
    assert "\n" not in summary(child, None).curl


def test_a_program_reads_one_line_and_nothing_else(child: Child) -> None:
    people, program = io.StringIO(), io.StringIO()
    tell_everything(JsonLine(Console(file=people), Console(file=program)), child)
    [line] = program.getvalue().splitlines()
    told = json.loads(line)
    assert (told["url"], told["pid"]) == ("http://127.0.0.1:8000", os.getpid())
    assert told["services"]["safety"]["ready_seconds"] == 1.25
    assert told["first_picture"]["trace_id"] == TRACE_ID
    assert "safety died (exit code 1)" in people.getvalue()


def test_without_a_self_check_there_is_no_picture(child: Child) -> None:
    program = io.StringIO()
    JsonLine(Console(file=io.StringIO()), Console(file=program)).ready(summary(child, None))
    assert json.loads(program.getvalue())["first_picture"] is None
