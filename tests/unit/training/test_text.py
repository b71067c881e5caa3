"""The tokenizer takes any text; the text encoder is CLIP's shape."""

from __future__ import annotations

import numpy as np
import torch

from bowerbird.training.captions import caption, examination_prompt
from bowerbird.training.config import TextConfig
from bowerbird.training.pictures import scene_at
from bowerbird.training.scene import COMBINATIONS
from bowerbird.training.text import BEGIN, END, PAD, UNKNOWN, new_text_encoder, new_tokenizer, token_ids


def test_every_word_of_every_caption_and_examination_prompt_is_known() -> None:
    tokenizer, rng = new_tokenizer(77), np.random.default_rng(0)
    unknown = tokenizer.token_to_id(UNKNOWN)
    for index in range(500):
        scene = scene_at(6, index, COMBINATIONS)
        for text in (caption(scene, rng), examination_prompt(scene, rng)):
            assert unknown not in tokenizer.encode(text).ids, text


def test_any_text_becomes_77_ids() -> None:
    tokenizer = new_tokenizer(77)
    ids = token_ids(tokenizer, ["", "A Blue-Jay!", "чайка " * 500, "\x00\n\t"])
    assert ids.shape == (4, 77)
    assert ids.dtype == torch.int64
    first = tokenizer.encode("").tokens
    assert first[:3] == [BEGIN, END, PAD]
    assert tokenizer.encode("A Blue-Jay!").tokens[:5] == [BEGIN, "a", "blue", "jay", UNKNOWN]


def test_the_text_vector_is_taken_at_the_end_of_the_text() -> None:
    tokenizer = new_tokenizer(77)
    assert tokenizer.token_to_id(END) != 2
    encoder = new_text_encoder(TextConfig(width=16, layers=1, heads=2), tokenizer).eval()
    with torch.no_grad():
        out = encoder(token_ids(tokenizer, ["a robin in winter"]))
    assert torch.allclose(out.pooler_output[0], out.last_hidden_state[0, 5])
