"""`limit` and `after` of lists whose rows are in the order of their id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.body import shown_value

DEFAULT_PAGE = 20
MAX_PAGE = 100
ID = r"^[A-Za-z0-9_-]{1,64}$"
NUMBER = r"^[0-9]{1,18}$"

LIMIT_SCHEMA: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
AFTER_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": ID,
    "description": "`id` of the last row of the page before.",
}


def limit_of(request: Request) -> int:
    """How many rows a page may have; raises RequestInvalid."""
    stated = request.query_params.get("limit", str(DEFAULT_PAGE))
    if stated.isascii() and stated.isdigit() and len(stated) <= 3 and 1 <= int(stated) <= MAX_PAGE:
        return int(stated)
    raise RequestInvalid(f"limit: {shown_value(stated)} is not accepted. Accepted: 1 to {MAX_PAGE}.", param="limit")


def text_of(request: Request, name: str, pattern: str = ID) -> str | None:
    """A query parameter that is an id or a number, or None; raises RequestInvalid for anything else."""
    stated = request.query_params.get(name)
    if stated is None or re.fullmatch(pattern, stated, re.ASCII):
        return stated
    raise RequestInvalid(f"{name}: {shown_value(stated)} is not accepted. Accepted: {pattern}.", param=name)


def path_id(request: Request, name: str) -> str:
    """An id in the path; what cannot be one is empty text, which is nobody's id."""
    stated: str = request.path_params[name]
    return stated if re.fullmatch(ID, stated, re.ASCII) else ""
