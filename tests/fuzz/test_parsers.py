"""Some inputs for every parser of foreign bytes; `make fuzz` asks each a million."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .parsers import PARSERS, Parser

EXAMPLES = 60


@st.composite
def altered(draw: Callable[..., Any], parser: Parser) -> bytes:
    """An input that is taken, with some of it overwritten, cut out, doubled, or put in."""
    content = bytearray(draw(st.sampled_from(parser.seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        piece = draw(st.binary(max_size=8))
        content[at : at + draw(st.integers(0, 8))] = piece * draw(st.sampled_from([1, 1, 1, 50]))
    return bytes(content)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # where it goes on with a broken file, it says so
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_whatever_is_sent_is_read_or_refused(parser: Parser) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
    @given(st.one_of(altered(parser), st.binary(max_size=200)))
    def asked(data: bytes) -> None:
        parser.ask(data)

    for each in parser.seeds:
        parser.ask(each)
    asked()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_something_that_a_parser_begins_with_is_taken(parser: Parser) -> None:
    """Else nothing behind its first check would ever be asked."""

    def taken(data: bytes) -> bool:
        try:
            parser.read(data)
        except parser.refusals:
            return False
        return True

    assert any(map(taken, parser.seeds))
