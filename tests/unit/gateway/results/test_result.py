"""Entity tags, and when a drawing is what was looked up."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from bowerbird.gateway.results.result import Result, tag_is_known

from .drawings import CURATION, OTHER_DIGEST, recipe, result


def test_the_tag_is_that_of_the_pictures_in_their_order() -> None:
    ours = result(b"robin", b"jay")
    assert ours.entity_tag == Result(ours.facts, [b"robin", b"jay"]).entity_tag
    assert len({each.entity_tag for each in (ours, result(b"jay", b"robin"), result(b"rob", b"injay"))}) == 3


def test_the_tag_is_the_same_where_the_digests_were_known_before() -> None:
    ours = result(b"robin", b"jay")
    digests = tuple(hashlib.sha256(each).hexdigest() for each in ours.pictures)
    assert Result(ours.facts, ours.pictures, digests).digest == ours.digest
    assert Result(ours.facts, ours.pictures, digests) == ours


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        ("*", True),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", W/"abc" ,"y"', True),
        ('"x,abc"', False),
        ('"ABC"', False),
        ("abc", False),
        ('"abc', False),
        ("", False),
        ('W/"abcd"', False),
    ],
)
def test_if_none_match_is_compared_weakly(if_none_match: str, known: bool) -> None:
    assert tag_is_known(if_none_match, 'W/"abc"') is known


def test_a_drawing_is_stored_only_under_what_it_was_drawn_with() -> None:
    assert result(b"robin").is_of(recipe())
    assert not result(b"robin", b"jay").is_of(recipe())
    assert not result(b"robin").is_of(replace(recipe(), model=OTHER_DIGEST))
    assert not result(b"robin").is_of(replace(recipe(), policy=OTHER_DIGEST))
    assert not result(b"robin").is_of(replace(recipe(), loras=(("ink", OTHER_DIGEST, 1.0),)))
    for change in ({"judge": "judge@2"}, {"certificate": OTHER_DIGEST}, {"version": "2"}):
        other = CURATION.model_copy(update=change)
        assert not result(b"robin").is_of(replace(recipe(), curation=other.model_dump_json()))
