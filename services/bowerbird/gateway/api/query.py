"""What may stand in a request's query: the parameters that its operation reads, each once.

`guard` asks here, for each operation of the route table. A parameter that nobody reads would be ignored, and who
misspelt `purpose` would take the list of everything for the one that they asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from bowerbird.errors import FieldUnknown, RequestInvalid

_SHOWN_CHARACTERS = 64


def check_query(query: bytes, known: Collection[str]) -> None:
    """Raises FieldUnknown for a parameter that is none of `known`, RequestInvalid for one that is stated twice."""
    seen: set[str] = set()
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        param = name[:_SHOWN_CHARACTERS]
        if name not in known:
            accepted = ", ".join(known) or "none here"
            raise FieldUnknown(f"Unknown query parameter {param!r}. Accepted: {accepted}.", param=param)
        if name in seen:
            raise RequestInvalid(f"{param}: it is stated twice. Accepted: each parameter once.", param=param)
        seen.add(name)
