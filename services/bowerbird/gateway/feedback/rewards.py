"""Rewards as `rewards.toml` states them: read once, named by version and digest in every row that has one."""

from __future__ import annotations

import hashlib
import tomllib
from enum import StrEnum
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("rewards.toml")
MAX_STARS = 5


class Kind(StrEnum):
    """What somebody did about a picture."""

    STARS = "stars"
    CHOSEN = "chosen"
    """This one of the request's pictures, not the others."""
    LIKE = "like"
    FAVOURITE = "favourite"
    SHARE = "share"
    DOWNLOAD = "download"
    REPORT = "report"
    NONE = "none"
    """It was shown, and nothing was done with it."""


class StarsReward(BaseModel):
    """(stars - centre) / scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    centre: float
    scale: float = Field(gt=0)


class Rewards(BaseModel):
    """One version of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    stars: StarsReward
    kinds: dict[Kind, float]
    digest: str
    """sha256:… of the file's bytes."""

    def of(self, kind: Kind, stars: int | None) -> float | None:
        """What this feedback is worth; None for a kind that has no reward."""
        if kind is Kind.STARS:
            return None if stars is None else (stars - self.stars.centre) / self.stars.scale
        return self.kinds.get(kind)


@cache
def rewards() -> Rewards:
    """The packaged file."""
    raw = FILE.read_bytes()
    return Rewards(**tomllib.loads(raw.decode()), digest=f"sha256:{hashlib.sha256(raw).hexdigest()}")
