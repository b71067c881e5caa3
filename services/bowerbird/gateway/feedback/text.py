"""Free text of feedback as it may be kept: without personal data, and not at all where a person may be in danger.

The text goes to safety as a prompt does. What safety would not draw may still be said about a picture ("this shows …"):
such a text is kept with everything that safety pointed at taken out of it, category by category.
"""

from __future__ import annotations

from collections.abc import Iterable

from bowerbird.contracts import Action, Decision, Span


def kept_text(text: str, decision: Decision) -> str | None:
    """What may be stored; None when nothing may."""
    if decision.action is Action.CRISIS:
        return None
    if not decision.action.stops:
        return decision.redacted_prompt
    return redacted(text, decision.spans)


def redacted(text: str, spans: Iterable[Span]) -> str:
    """`text` with what the spans cover, which may overlap, replaced by `<ENTITY>` of the one that begins first."""
    parts, position = [], 0
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        if span.start >= position:
            parts += [text[position : span.start], f"<{span.entity}>"]
        position = max(position, span.end)
    return "".join([*parts, text[position:]])
