"""A prompt as the token ids that the text encoder reads.

The service counts tokens here before it answers, so that a prompt that is too long is refused with both numbers. It is
never cut: a picture of the first half of a sentence is a wrong answer that looks like a right one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from bowerbird.engine.backend import Ids
from bowerbird.engine.bundle import TokenizerFacts
from bowerbird.errors import PromptTooLong


class PromptTokenizer:
    """Hugging Face's `tokenizers` with the bundle's vocabulary; begin, end and padding come from the bundle's facts."""

    def __init__(self, path: Path, facts: TokenizerFacts) -> None:
        self.facts = facts
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def ids(self, prompt: str, param: str = "prompt") -> Ids:
        """int64 `[length]`; raises PromptTooLong, naming `param`, when the prompt does not fit."""
        tokens = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        if len(tokens) > self.facts.max_prompt_tokens:
            raise PromptTooLong(
                f"{param} has {len(tokens)} tokens; this model reads at most {self.facts.max_prompt_tokens}.",
                param=param,
                details={"tokens": len(tokens), "max_tokens": self.facts.max_prompt_tokens},
            )
        ids = [self.facts.begin_id, *tokens, self.facts.end_id]
        return np.array(ids + [self.facts.padding_id] * (self.facts.length - len(ids)), np.int64)
