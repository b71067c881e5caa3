"""The tokenizer and the text encoder: a CLIP text model in miniature with a word-level vocabulary.

Called by the denoiser's and the judge's stages, by `sampling` and by `assembly`. The tokenizer is a plain
`tokenizers` file that the torch-free engine reads as well; any text is accepted, unknown words become one `<unk>`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from bowerbird.training.captions import vocabulary
from bowerbird.training.config import TextConfig

PAD, BEGIN, END, UNKNOWN = "<pad>", "<|startoftext|>", "<|endoftext|>", "<unk>"
SPECIAL = (PAD, UNKNOWN, BEGIN, END)
"""In the order of their ids. The end must not have id 2, for which transformers' CLIP falls back to the largest id."""


def new_tokenizer(tokens: int, more_words: Sequence[str] = ()) -> Tokenizer:
    """The tokenizer: lower case, words and punctuation apart, `tokens` ids per text (padded and cut to that).

    `more_words` get the ids after the vocabulary's, so that the others keep theirs.
    """
    words = {word: index for index, word in enumerate((*SPECIAL, *vocabulary(), *more_words))}
    tokenizer = Tokenizer(WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[\s_-]+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(BEGIN, words[BEGIN]), (END, words[END])]
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens, pad_id=words[PAD], pad_token=PAD)
    return tokenizer


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """int64 [n, tokens] for texts."""
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))], dtype=torch.int64)


def widened(encoder: CLIPTextModel, config: TextConfig, tokenizer: Tokenizer) -> CLIPTextModel:
    """A text encoder for a larger vocabulary: the old words as they were, each new one near the old ones' mean."""
    wider = new_text_encoder(config, tokenizer)
    weights = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    (name,) = (name for name in weights if name.endswith("token_embedding.weight"))
    rows = wider.state_dict()[name] * 0.5 + weights[name].mean(0)
    rows[: len(weights[name])] = weights[name]
    wider.load_state_dict(weights | {name: rows})
    return wider


def new_text_encoder(config: TextConfig, tokenizer: Tokenizer) -> CLIPTextModel:
    """An untaught CLIP text model for the tokenizer's vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=config.width,
            intermediate_size=config.width * 4,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.tokens,
            projection_dim=config.width,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.token_to_id(BEGIN),
            eos_token_id=tokenizer.token_to_id(END),
            pad_token_id=tokenizer.token_to_id(PAD),
        )
    )
