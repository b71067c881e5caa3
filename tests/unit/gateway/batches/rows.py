"""Lines, and a trade that answers them without a model; a file of its own, because `dying.py` runs as a script."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bowerbird.errors import BowerbirdError
from bowerbird.gateway.batches.batch import BatchClaim, Outcome
from bowerbird.gateway.batches.running import Line, Trade
from bowerbird.gateway.files.jsonl import RawLine
from bowerbird.gateway.files.parts import Erasure
from bowerbird.gateway.files.persons import erased
from bowerbird.gateway.records.usage import UsageEntry

CRISIS = b"crisis"


@dataclass(frozen=True)
class Plain:
    """A line of which only the name is known."""

    raw: RawLine
    custom_id: str | None


def lines(count: int, filler: str = "a robin") -> bytes:
    """A file of so many lines, each with a name."""
    made = (json.dumps({"custom_id": f"line-{number}", "prompt": filler}) for number in range(1, count + 1))
    return "".join(f"{each}\n" for each in made).encode()


async def read(_: str, raw: RawLine) -> Plain:
    try:
        return Plain(raw, json.loads(raw.content or b"{}").get("custom_id"))
    except (ValueError, AttributeError):
        return Plain(raw, None)


def outcome(claim: BatchClaim, line: Line) -> Outcome:
    """An answer; of a line that says `crisis`, the erasure of it."""
    content = line.raw.content or b""
    text = json.dumps({"custom_id": line.custom_id, "line": line.raw.number, "epoch": claim.epoch}).encode() + b"\n"
    work_id = f"{claim.batch_id}-{line.raw.number}"
    usage = UsageEntry(work_id, claim.tenant, "sha256:m", "fledgling", 2.0, 1024, 1)
    if CRISIS in content:
        erasure = Erasure(line.raw.start, erased(line.raw.length, "crisis_support", line.custom_id))
        return Outcome(line.raw.number, succeeded=False, text=text, erasure=erasure)
    return Outcome(line.raw.number, succeeded=True, text=text, usage=usage, input_tokens=3, output_tokens=5)


async def answer(claim: BatchClaim, line: Line) -> Outcome:
    return outcome(claim, line)


def refuse(claim: BatchClaim, line: Line, error: BowerbirdError) -> Outcome:
    text = json.dumps({"custom_id": line.custom_id, "line": line.raw.number, "code": error.code}).encode() + b"\n"
    return Outcome(line.raw.number, succeeded=False, text=text)


def trade(answering: Callable[[BatchClaim, Line], Awaitable[Outcome]] = answer) -> Trade:
    """A trade that answers so; no line may be longer than 64 KiB."""
    return Trade(lambda _: 65_536, read, lambda claim, line, _: answering(claim, line), refuse, lambda _: "fledgling")
