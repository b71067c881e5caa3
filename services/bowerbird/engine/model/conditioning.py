"""What a prompt tells the denoiser: its conditioning inputs, by port.

`drawing` tokenises when a request is checked (`ids`, which refuses a prompt that is too long) and encodes when its turn
has come (`conditioning`). How many text encoders a bundle has, what they answer, and what else its denoiser wants to
know is settled here, so that the scheduler stacks rows of named arrays and knows no family of models:

    states    [tokens, width]  every bundle; of two encoders (Stable Diffusion XL) side by side
    pooled    [width]          the last encoder's pooled projection, where the denoiser reads one
    time_ids  [6]              height and width wanted, crop, height and width drawn (Podell et al., "SDXL", 2023, 2.2)
    guidance  []               the guidance scale, where it was distilled into the denoiser (Meng et al., 2023; LCM)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bowerbird.contracts import Size
from bowerbird.engine.backend import Backend, Floats, Ids, Input
from bowerbird.engine.bundle import MOTION, TEXT_ENCODERS, Bundle
from bowerbird.engine.model.text_encoder import CACHED_PROMPTS, Encoded, TextEncoder
from bowerbird.engine.model.tokenizer import PromptTokenizer

Conditioning = Mapping[str, Floats]
"""float32 by the denoiser's input port, without the batch dimension; read-only."""


class LoraRow(Protocol):
    """The LoRAs of one row; `engine.lora.banks.LoraRow` is one."""

    def key(self, role: str) -> tuple[tuple[str, float], ...]:
        """(digest, weight) of those that change this role's weights; empty when none does."""
        ...


class LoraInputs(Protocol):
    """Where a graph's `lora_*` inputs come from; `engine.lora.banks.LoraBanks` is one."""

    def inputs(self, role: str, rows: Sequence[Any]) -> Mapping[str, Input]: ...


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt's token ids, one int64 `[length]` per text encoder; equal when all ids are.

    `absent` is the negative prompt that nobody wrote, where the bundle takes zeros for it.
    """

    arrays: tuple[Ids, ...] = field(compare=False, repr=False)
    absent: bool = False
    key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", b"".join(ids.tobytes() for ids in self.arrays))


class Conditioner:
    """The bundle's tokenizers and text encoders; may be called from several threads at once."""

    def __init__(self, bundle: Bundle, backend: Backend, loras: LoraInputs | None = None) -> None:
        self._facts = bundle.drawing
        self._loras = loras
        tokenizers = bundle.tokenizers if bundle.drawing.reads_prompts else []
        self._tokenizers = [PromptTokenizer(path, facts) for path, facts in tokenizers]
        self._encoders = {
            role: _encoder(bundle, backend, role) for role in TEXT_ENCODERS if role in bundle.manifest.parts
        }
        denoiser = bundle.part("denoiser" if "denoiser" in bundle.manifest.parts else MOTION)
        self._reads_pooled = "pooled" in {port.name for port in denoiser.inputs}

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of a prompt that fit all encoders; 0 where none is read."""
        return min((tokenizer.facts.max_prompt_tokens for tokenizer in self._tokenizers), default=0)

    @property
    def encoded(self) -> int:
        """How often an encoder has run; what the cache knew is not counted."""
        return sum(encoder.encoded for encoder in self._encoders.values())

    def ids(self, prompt: str, param: str = "prompt") -> PromptIds:
        """The prompt as token ids; raises PromptTooLong, naming `param`.

        The parameter `negative_prompt` with no text in it is the absent one.
        """
        absent = self._facts.zero_empty_negative and param == "negative_prompt" and not prompt
        return PromptIds(tuple(tokenizer.ids(prompt, param) for tokenizer in self._tokenizers), absent)

    def conditioning(
        self, ids: PromptIds, size: Size, lora: LoraRow | None = None, guidance_scale: float = 1.0
    ) -> Conditioning:
        """Everything but `sample` and `timestep` that one row of the denoiser reads."""
        encoded = [
            self._encode(role, encoder, each, lora)
            for (role, encoder), each in zip(self._encoders.items(), ids.arrays, strict=True)
        ]
        states = [each["states"] for each in encoded]
        found = {"states": states[0] if len(states) == 1 else np.concatenate(states, axis=-1)}
        if self._reads_pooled:
            found["pooled"] = encoded[-1]["pooled"]
        if ids.absent:
            found = {port: np.zeros_like(value) for port, value in found.items()}
        if self._facts.size_conditioned:
            found["time_ids"] = np.array([size.height, size.width, 0, 0, size.height, size.width], np.float32)
        if self._facts.embeds_guidance:
            found["guidance"] = np.array(guidance_scale, np.float32)
        return found

    def _encode(self, role: str, encoder: TextEncoder, ids: Ids, lora: LoraRow | None) -> Encoded:
        key = lora.key(role) if lora else ()
        if not key or self._loras is None:
            return encoder.encode(ids)
        loras = self._loras
        return encoder.encode(ids, key, lambda: loras.inputs(role, [lora]))


def _encoder(bundle: Bundle, backend: Backend, role: str) -> TextEncoder:
    def load(role: str) -> Callable[[], Any]:
        return lambda: backend.load(bundle.path(bundle.part(role).graph), key=bundle.part_digest(role))

    with_lora = f"{role}_lora"
    return TextEncoder(
        load(role)(),
        bundle.part_digest(role),
        CACHED_PROMPTS,
        load(with_lora) if with_lora in bundle.manifest.parts else None,
    )
