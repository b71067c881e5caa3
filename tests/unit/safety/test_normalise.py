"""Normalisation: disguises are seen through, offsets lead back, and nothing makes it fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.safety.normalise import Normalised, look_alikes, normalise, plain_text

# Text from strangers: any code point, and those that disguises are made of more often.
TEXTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("aе\u200b\u0301 1!|@$.-_*'’ﬁⓐ𝐚🅰\u3164\u2060İıßŁ"),
    ),
    max_size=80,
)


@pytest.mark.parametrize(
    ("typed", "read", "step"),
    [
        ("ＲＯＢＩＮ", "robin", "nfkc"),
        ("ﬁnch", "finch", "nfkc"),
        ("𝖗𝖔𝖇𝖎𝖓", "robin", "nfkc"),
        ("ro\u200bb\u00adin", "robin", "zero_width"),
        ("rоbіn", "robin", "confusables"),
        ("RОBІN", "robin", "confusables"),
        ("ʀᴏʙɪɴ", "robin", "confusables"),
        ("r̶o̷b̸i̶n̵", "robin", "marks"),
    ],
)
def test_disguised_characters_are_seen_through_and_named(typed: str, read: str, step: str) -> None:
    normalised = normalise(typed)
    assert normalised.plain.text == read
    assert step in normalised.steps


@pytest.mark.parametrize(
    ("typed", "read", "step"),
    [
        ("r0b1n", "robin", "leetspeak"),
        ("k1ll3r wh4l3", "killer whale", "leetspeak"),
        ("8i1l", "bill", "leetspeak"),
        ("t0 sw1m", "to swim", "leetspeak"),
        ("r o b i n", "robin", "spacing"),
        ("r.o.b.i.n", "robin", "spacing"),
        ("r  o  b  i  n", "robin", "spacing"),
        ("r o b i n   r e d", "robin red", "spacing"),
        ("rooooobin", "robin", "repetition"),
        ("boooby", "booby", "repetition"),
    ],
)
def test_disguised_words_are_read_in_a_variant(typed: str, read: str, step: str) -> None:
    normalised = normalise(typed)
    assert read in {view.text for view in normalised.variants}
    assert step in normalised.steps


@pytest.mark.parametrize(
    "typed", ["8k, 50mm, f/2.8, 1980s, 16:9, 3x", "a robin, perched. In winter!", "ISO 100 1/2000"]
)
def test_ordinary_writing_is_no_disguise(typed: str) -> None:
    assert normalise(typed).steps == ()


def test_words_in_scripts_of_their_own_keep_their_letters() -> None:
    assert plain_text("снегирь").startswith("c")  # a look-alike
    assert len(plain_text("снегирь")) == len("снегирь")
    assert plain_text("雪の中") == "雪の中"


def test_apostrophes_of_every_kind_vanish() -> None:
    assert {plain_text(f"don{mark}t") for mark in "'’ʼ`´"} == {"dont"}


def test_look_alikes_are_letters_and_come_from_the_library() -> None:
    assert len(look_alikes()) > 1_000
    assert all(len(letter) == 1 and letter.isascii() and letter.isalpha() for letter in look_alikes().values())


@given(TEXTS)
def test_normalisation_is_idempotent(text: str) -> None:
    once = plain_text(text)
    assert plain_text(once) == once


@given(TEXTS)
def test_every_character_of_every_view_leads_back_into_the_prompt(text: str) -> None:
    normalised = normalise(text)
    for view in (normalised.literal, *normalised.views):
        assert len(view.origin) == len(view.text)
        assert all(0 <= index < len(text) for index in view.origin)
        assert list(view.origin) == sorted(view.origin)
        if view.text:
            start, end = view.span(0, len(view.text))
            assert 0 <= start < end <= len(text)


@given(st.text("abcdefgh", min_size=2, max_size=10), st.sampled_from(["\u200b", "\u00ad", "\u2060", "\u0336"]))
def test_a_word_split_by_what_draws_nothing_leads_back_to_all_of_it(word: str, splitter: str) -> None:
    normalised: Normalised = normalise(f"a {splitter.join(word)} z")
    start = normalised.plain.text.index(word, 2)
    left, right = normalised.plain.span(start, start + len(word))
    assert normalised.original[left:right] == splitter.join(word)


@given(st.integers(0, 0x10FFFF))
def test_no_code_point_makes_it_fail(number: int) -> None:
    normalise(chr(number) * 3)
