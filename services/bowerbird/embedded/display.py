"""What a person at `bowerbird up` sees: a live table while services start, then where to go, then only what goes wrong.

Three faces of one interface: `Terminal` (a live table), `PlainLines` (a file, a pipe, CI) and `JsonLine` (programs:
exactly one line on standard output when the stack is ready, everything else on standard error).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from bowerbird.embedded.child import Child, State
from bowerbird.embedded.self_check import PROMPT, FirstPicture
from bowerbird.embedded.supervisor import Death

MEGABYTE = 1024 * 1024
STYLES = {State.READY: "green", State.DIED: "bold red", State.STARTING: "yellow"}


@dataclass(frozen=True, slots=True)
class Summary:
    """The stack when it is ready; `picture` is None when the self-check was not wanted."""

    url: str
    stack_id: str
    home: Path
    seconds: float
    children: Sequence[Child]
    picture: FirstPicture | None

    @property
    def curl(self) -> str:
        """A request to copy into a shell."""
        body = json.dumps({"prompt": "a blue jay in spring"})
        return f"curl {self.url}/v1/images/generations -H 'Content-Type: application/json' -d '{body}' -o jay.json"

    @property
    def snippet(self) -> str:
        """The same with OpenAI's client."""
        return (
            "from base64 import b64decode\n"
            "from pathlib import Path\n"
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{self.url}/v1", api_key="local")\n'
            'answer = client.images.generate(prompt="a blue jay in spring")\n'
            'Path("jay.png").write_bytes(b64decode(answer.data[0].b64_json))'
        )


class Display(Protocol):
    """Tells what happens, in the order in which it does."""

    def starting(self, children: Sequence[Child]) -> None:
        """The services are being started."""

    def drawing(self) -> None:
        """All are ready; the first picture is being drawn."""

    def ready(self, summary: Summary) -> None:
        """The stack can be used."""

    def died(self, death: Death) -> None:
        """A service died."""

    def stopping(self) -> None:
        """The stack is being stopped."""

    def failed(self, message: str) -> None:
        """The stack could not start or go on."""


class PlainLines:
    """One line for each thing that happens, without colours or movement."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def starting(self, children: Sequence[Child]) -> None:
        """Names what is started."""
        self._say(f"starting {', '.join(child.name for child in children)}")

    def drawing(self) -> None:
        """Says so."""
        self._say(f"every service is ready; drawing {PROMPT!r}")

    def ready(self, summary: Summary) -> None:
        """The services, the picture, and what to type next."""
        for child in summary.children:
            self._say(f"{child.name}: ready after {child.seconds:.1f} s, {child.resident_bytes() / MEGABYTE:.0f} MB")
        for name, value in _facts(summary).items():
            self._say(f"{name}: {value}")
        self._say(summary.curl)
        self._say(summary.snippet)

    def died(self, death: Death) -> None:
        """The name, the reason and the tail of the log."""
        self._say(_obituary(death))
        for line in death.child.log.tail:
            self._say(f"  {death.child.name} | {line}")

    def stopping(self) -> None:
        """Says so."""
        self._say("stopping: the gateway finishes its requests, then the services end")

    def failed(self, message: str) -> None:
        """The reason."""
        self._say(message)

    def _say(self, text: str) -> None:
        self._console.out(text, highlight=False)


class JsonLine(PlainLines):
    """For programs: one JSON object on standard output when ready; lines for people go to standard error."""

    def __init__(self, console: Console, output: Console) -> None:
        super().__init__(console)
        self._output = output

    def ready(self, summary: Summary) -> None:
        """The whole summary as one line."""
        self._output.out(json.dumps(_as_json(summary)), highlight=False)


class Terminal(PlainLines):
    """For a person: a table that lives while services start, colours, and snippets to copy."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._children: Sequence[Child] = ()
        self._note = ""
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=False)

    def starting(self, children: Sequence[Child]) -> None:
        """Starts the table."""
        self._children = children
        self._note = "starting; the first start after an installation takes longer"
        self._live.start()

    def drawing(self) -> None:
        """Says so below the table."""
        self._note = f"drawing “{PROMPT}”"

    def ready(self, summary: Summary) -> None:
        """Ends the table and shows what to do now."""
        self._end_table()
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="bold")
        for name, value in _facts(summary).items():
            facts.add_row(name, escape(value))
        self._console.print(Padding(facts, (1, 0)))
        for code in (summary.curl, summary.snippet):
            # Not wrapped and not indented by rich: what is copied from the terminal must run as it is.
            self._console.print(Text(code, style="cyan"), soft_wrap=True)
            self._console.print()
        self._console.print("[dim]Ctrl-C stops everything.[/dim]")

    def died(self, death: Death) -> None:
        """Above the table or below the summary, in red."""
        if death.pause_seconds is None:
            self._end_table()
        self._console.print(Text(_obituary(death), style="bold red"))
        for line in death.child.log.tail:
            self._console.print(Text(f"  {death.child.name} | {line}", style="dim"))

    def stopping(self) -> None:
        """Ends the table if it still lives."""
        self._end_table()
        self._console.print("[dim]Stopping; press Ctrl-C again to kill what is unfinished.[/dim]")

    def failed(self, message: str) -> None:
        """The reason in red."""
        self._end_table()
        self._console.print(Text(message, style="bold red"))

    def _end_table(self) -> None:
        if self._live.is_started:
            self._note = ""
            self._live.stop()

    def _table(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("service")
        table.add_column("state")
        table.add_column("seconds", justify="right")
        table.add_column("memory", justify="right")
        for child in self._children:
            state = Text(child.state, style=STYLES.get(child.state, "dim"))
            memory = f"{child.resident_bytes() / MEGABYTE:.0f} MB"
            table.add_row(child.name, state, f"{child.seconds:.1f}", memory)
        return Group(table, Spinner("dots", self._note)) if self._note else table


def _obituary(death: Death) -> str:
    follows = "not started again" if death.pause_seconds is None else f"starting again in {death.pause_seconds:g} s"
    return f"{death.child.name} died ({death.how}); {follows}; the end of {death.child.log.path}:"


def _facts(summary: Summary) -> dict[str, str]:
    facts = {"gateway": summary.url, "ready after": f"{summary.seconds:.1f} s", "logs": str(summary.home / "logs")}
    if summary.picture is not None:
        facts |= {
            "first picture": f"{summary.picture.path} after {summary.picture.seconds:.1f} s",
            "time by stage": _by_stage(summary.picture.seconds_by_stage),
            "trace": summary.picture.trace_id or "not stated",
        }
    return facts


def _by_stage(seconds: Mapping[str, float]) -> str:
    """`draw 1346 ms (denoise 1221, decode 84), judge …`: a stage's phases are named `stage.phase`."""
    stages = []
    for name in (each for each in seconds if "." not in each):
        phases = {
            each.removeprefix(f"{name}."): spent for each, spent in seconds.items() if each.startswith(f"{name}.")
        }
        inside = ", ".join(f"{phase} {spent * 1000:.0f}" for phase, spent in phases.items())
        stages.append(f"{name} {seconds[name] * 1000:.0f} ms" + (f" ({inside})" if inside else ""))
    return ", ".join(stages)


def _as_json(summary: Summary) -> Mapping[str, object]:
    picture = summary.picture
    return {
        "url": summary.url,
        "pid": os.getpid(),
        "stack_id": summary.stack_id,
        "home": str(summary.home),
        "seconds": round(summary.seconds, 3),
        "services": {
            child.name: {
                "url": child.service.url,
                "pid": child.pid,
                "ready_seconds": round(child.seconds, 3),
                "resident_bytes": child.resident_bytes(),
                "log": str(child.log.path),
            }
            for child in summary.children
        },
        "first_picture": None
        if picture is None
        else {
            "path": str(picture.path),
            "seconds": round(picture.seconds, 3),
            "seconds_by_stage": dict(picture.seconds_by_stage),
            "trace_id": picture.trace_id,
            "scores": dict(picture.scores),
        },
    }
