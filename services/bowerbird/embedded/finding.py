"""What `bowerbird doctor` finds: a fact, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad: all is well, it will work but not well, it will not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    level: Level
    fact: str
    advice: str = ""
    """What to do; empty when nothing has to be."""


def ok(subject: str, fact: str) -> Finding:
    """All is well."""
    return Finding(subject, Level.OK, fact)


def warn(subject: str, fact: str, advice: str) -> Finding:
    """It will work, but not well."""
    return Finding(subject, Level.WARN, fact, advice)


def fail(subject: str, fact: str, advice: str) -> Finding:
    """It will not work."""
    return Finding(subject, Level.FAIL, fact, advice)
