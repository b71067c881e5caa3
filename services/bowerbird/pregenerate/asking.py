"""What is asked for one row, and what the answer means."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.client.calls import Call, Received, step
from bowerbird.contracts import CLASS_HEADER, WorkClass
from bowerbird.errors import (
    BowerbirdError,
    FeatureUnavailable,
    KeyInvalid,
    MethodUnsupported,
    RouteUnknown,
    ScopeMissing,
    TenantDisabled,
)
from bowerbird.pregenerate.rows import Row

HEADERS = {"Prefer": "return=minimal", CLASS_HEADER: WorkClass.BATCH.value}
OF_ALL_ROWS = (KeyInvalid, ScopeMissing, TenantDisabled, RouteUnknown, MethodUnsupported, FeatureUnavailable)
"""What would be said of every other row too."""
PASSING = frozenset({408, 409, 429, 502, 503})
"""Statuses that say nothing about the row: it is asked for again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that the gateway has stored now."""

    fresh: bool
    """It was there before."""
    contradicted: bool
    """The species check says that it shows another species."""


def keep(row: Row) -> Call[Kept]:
    """The request; sending it twice is as good as once, since the second finds what the first brought."""
    path = f"/v1/species/{step(row.species)}/images"
    return Call("POST", path, _kept, json=dict(row.body), headers=HEADERS, repeatable=True)


def passes(error: BowerbirdError) -> bool:
    """Whether another attempt may well end otherwise."""
    return error.status in PASSING


def column_of(error: BowerbirdError) -> str | None:
    """The table's name for the field that the gateway's error is about."""
    return "id" if error.param == "species" else error.param


def _kept(received: Received) -> Kept:
    found = [each.strip() for each in received.headers.get("cache-status", "").split(";")]
    return Kept("hit" in found, received.headers.get("bowerbird-species-check") == "contradicted")
