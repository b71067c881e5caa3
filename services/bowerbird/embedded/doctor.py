"""`bowerbird doctor`: one line for each thing that has to be right, and what to do about each that is not.

`cli` calls `examine` and `report`. Findings are looked for one after the other and printed as they come, so that the
quick ones need not wait for a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from bowerbird.embedded.finding import Finding, Level
from bowerbird.embedded.kubernetes import examine_cluster, kubectl
from bowerbird.embedded.machine import examine_machine
from bowerbird.embedded.running import examine_running
from bowerbird.settings import Settings

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
SUBJECT_WIDTH = 16


def examine(settings: Settings, namespace: str | None = None) -> Iterator[Finding]:
    """Everything the doctor looks at, in order: on this machine, or in a namespace of Kubernetes."""
    if namespace is not None:
        yield from examine_cluster(namespace, kubectl(namespace))
        return
    yield from examine_machine(settings)
    yield from examine_running(settings)


def report(findings: Iterable[Finding], console: Console, *, as_json: bool) -> bool:
    """Prints the findings and returns whether none of them fails."""
    if as_json:
        found = list(findings)
        console.out(json.dumps([asdict(each) for each in found], indent=2), highlight=False)
    else:
        found = []
        for each in findings:
            found.append(each)
            _show(each, console)
    return all(each.level is not Level.FAIL for each in found)


def _show(finding: Finding, console: Console) -> None:
    level = Text(f"{finding.level:<5}", style=STYLES[finding.level])
    console.print(level, Text(f"{finding.subject:<{SUBJECT_WIDTH}}"), Text(finding.fact), sep="", soft_wrap=True)
    if finding.advice:
        console.print(Text(" " * (5 + SUBJECT_WIDTH) + finding.advice, style="dim"), soft_wrap=True)
