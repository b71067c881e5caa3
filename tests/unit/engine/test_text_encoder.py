"""The same words are encoded once."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.model.text_encoder import TextEncoder

from .tiny_bundle import LENGTH, WIDTH


def ids(*words: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([*words, *[0] * (LENGTH - len(words))], np.int64)


@pytest.fixture
def encoder(bundle: Bundle) -> TextEncoder:
    session = CpuBackend(threads=1).load(bundle.path("text_encoder.onnx"))
    return TextEncoder(session, bundle.part_digest("text_encoder"), capacity=2)


def test_known_ids_are_not_encoded_again(encoder: TextEncoder) -> None:
    first, again = encoder.states(ids(2, 5, 3)), encoder.states(ids(2, 5, 3))
    assert first.shape == (LENGTH, WIDTH)
    assert again is first
    assert encoder.encoded == 1


def test_the_longest_unused_prompt_is_forgotten_first(encoder: TextEncoder) -> None:
    encoder.states(ids(4))
    encoder.states(ids(5))
    encoder.states(ids(4))
    encoder.states(ids(6))
    encoder.states(ids(4))
    assert encoder.encoded == 3
    encoder.states(ids(5))
    assert encoder.encoded == 4


def test_cached_states_cannot_be_written_to(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="read-only"):
        encoder.states(ids(4))[0, 0] = 1
