"""A request's claim on the model, as its headers state it: until when, in which class, for which flow, by which weight.

The gateway states them for every tenant; a caller without them has the service's own timeout, is interactive, and
shares the nameless flow with all others that say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bowerbird.contracts import CLASS_HEADER, FLOW_HEADER, WEIGHT_HEADER, WorkClass
from bowerbird.deadline import Deadline
from bowerbird.errors import RequestInvalid

if TYPE_CHECKING:
    from bowerbird.engine.scheduling.work import Claim

MIN_WEIGHT, MAX_WEIGHT = 0.01, 100.0
MAX_FLOW_CHARACTERS = 200


def claim_of(headers: Mapping[str, str], default_seconds: float) -> Claim:
    """The claim; raises RequestInvalid naming the header that is not understood."""
    from bowerbird.engine.scheduling.work import Claim

    deadline = Deadline.from_headers(headers, default_seconds)
    return Claim(deadline.at, _work_class(headers), _flow(headers), _weight(headers))


def _work_class(headers: Mapping[str, str]) -> WorkClass:
    stated = headers.get(CLASS_HEADER, WorkClass.INTERACTIVE)
    if stated not in set(WorkClass):
        raise _invalid("Bowerbird-Class", f"must be one of {', '.join(WorkClass)}")
    return WorkClass(stated)


def _flow(headers: Mapping[str, str]) -> str:
    flow = headers.get(FLOW_HEADER, "")
    if len(flow) > MAX_FLOW_CHARACTERS or not flow.isprintable() or not flow.isascii():
        raise _invalid("Bowerbird-Flow", f"must be at most {MAX_FLOW_CHARACTERS} printable ASCII characters")
    return flow


def _weight(headers: Mapping[str, str]) -> float:
    try:
        weight = float(headers.get(WEIGHT_HEADER, "1"))
    except ValueError:
        weight = math.nan
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise _invalid("Bowerbird-Weight", f"must be a number from {MIN_WEIGHT} to {MAX_WEIGHT:g}")
    return weight


def _invalid(header: str, fact: str) -> RequestInvalid:
    return RequestInvalid(f"{header} {fact}.", param=header)
