"""Free text is kept without what safety pointed at, and not at all where a person may be in danger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import Action, PromptCheck, Span
from bowerbird.gateway.feedback.text import kept_text, redacted

from ..stand_ins import decision

TEXT = "write to robin@birds.example about the gore"


def span(start: int, end: int, entity: str = "X") -> Span:
    return Span(start=start, end=end, entity=entity, gate="g", score=1)


def test_what_safety_allows_is_kept_as_it_redacted_it() -> None:
    told = decision(PromptCheck(prompt=TEXT), Action.REDACT, redacted_prompt="write to <EMAIL_ADDRESS>")
    assert kept_text(TEXT, told) == "write to <EMAIL_ADDRESS>"


def test_what_safety_would_not_draw_is_kept_without_what_it_pointed_at() -> None:
    spans = [span(9, 28, "EMAIL_ADDRESS"), span(39, 43, "violence")]
    told = decision(PromptCheck(prompt=TEXT), Action.BLOCK, spans=spans)
    assert kept_text(TEXT, told) == "write to <EMAIL_ADDRESS> about the <violence>"


def test_of_a_person_in_danger_nothing_is_kept() -> None:
    assert kept_text(TEXT, decision(PromptCheck(prompt=TEXT), Action.CRISIS)) is None


@given(st.data())
def test_no_character_that_a_span_covers_is_left_and_every_other_is(data: st.DataObject) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(30))  # every character once
    ends = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted)
    spans = [span(start, end) for start, end in data.draw(st.lists(ends, max_size=8)) if start < end]
    covered = {text[place] for each in spans for place in range(each.start, each.end)}
    left = {character for character in redacted(text, spans) if character in text}
    assert left == set(text) - covered
