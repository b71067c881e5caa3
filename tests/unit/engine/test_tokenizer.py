"""A prompt becomes ids of one length, or is refused with its number of tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bowerbird.engine.bundle import TOKENIZER, Bundle
from bowerbird.engine.model.tokenizer import PromptTokenizer
from bowerbird.errors import PromptTooLong

from .tiny_bundle import LENGTH, WORDS


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> PromptTokenizer:
    return PromptTokenizer(bundle.path(TOKENIZER), bundle.tokenizer)


def test_a_prompt_stands_between_begin_and_end_and_is_padded(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.ids("a RED bird").tolist() == [2, 4, 6, 8, 3, 0, 0, 0]


def test_an_empty_prompt_is_begin_end_and_padding(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.ids("").tolist() == [2, 3, 0, 0, 0, 0, 0, 0]


def test_unknown_words_are_one_token_each(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.ids("xylophone").tolist()[1] == WORDS.index("<unk>")


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers_and_without_its_text(
    tokenizer: PromptTokenizer,
) -> None:
    with pytest.raises(PromptTooLong) as refused:
        tokenizer.ids("red " * 7, "negative_prompt")
    assert refused.value.message == "negative_prompt has 7 tokens; this model reads at most 6."
    assert refused.value.param == "negative_prompt"
    assert refused.value.details == {"tokens": 7, "max_tokens": 6}


@given(st.text())
def test_any_text_becomes_a_full_sequence_or_is_refused_never_cut(tokenizer: PromptTokenizer, text: str) -> None:
    tokens = len(Tokenizer.from_str(tokenizer._tokenizer.to_str()).encode(text, add_special_tokens=False))
    if tokens > LENGTH - 2:
        with pytest.raises(PromptTooLong):
            tokenizer.ids(text)
        return
    ids = tokenizer.ids(text)
    assert ids.dtype == np.int64
    assert ids.shape == (LENGTH,)
    assert ids[tokens + 1] == 3
    assert not ids[tokens + 2 :].any()
