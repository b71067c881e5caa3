"""A key is recognised, checked and told apart by its form alone; its text is nowhere but in its holder's hands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.identity.access_key import MARK, PREFIX_CHARACTERS, digest_of, is_key, make_key


def test_keys_differ_and_look_alike() -> None:
    keys = [make_key() for _ in range(200)]
    assert len({key.text for key in keys}) == len({key.digest for key in keys}) == 200
    for key in keys:
        assert re.fullmatch(r"bb_[0-9A-Za-z]{49}", key.text)
        assert is_key(key.text)
        assert key.text.startswith(key.prefix)
        assert (len(key.prefix), key.digest) == (PREFIX_CHARACTERS, digest_of(key.text))


def test_a_fresh_key_does_not_show_its_text_when_it_is_printed() -> None:
    key = make_key()
    assert key.text not in repr(key)


@given(st.integers(min_value=len(MARK), max_value=51), st.sampled_from("0aZ_ é"))
def test_a_key_with_one_other_character_is_none(place: int, character: str) -> None:
    text = make_key().text
    changed = text[:place] + character + text[place + 1 :]
    assert is_key(changed) == (changed == text)


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert not is_key(text)
    assert not is_key(MARK + text)


@pytest.mark.parametrize("wrap", ["{} ", " {}", "{}\n", "{}0", "Bearer {}"])
def test_a_key_with_something_around_it_is_none(wrap: str) -> None:
    assert not is_key(wrap.format(make_key().text))
