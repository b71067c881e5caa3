"""A prompt becomes exactly what the denoiser's ports want, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowerbird.contracts import Size
from bowerbird.engine.backend import Input
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.model.conditioning import Conditioner, LoraRow
from bowerbird.errors import PromptTooLong

from .tiny_bundle import LENGTH, LORA_MODULES, WIDTH, Tiny, write_tiny_bundle

SIZE = Size(width=16, height=32)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two text encoders and LoRA, as Stable Diffusion XL has them."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "two", Tiny(two_encoders=True, lora=True))


def conditioner(bundle: Bundle, **more: Any) -> Conditioner:
    return Conditioner(bundle, CpuBackend(threads=1), **more)


def test_one_encoder_gives_its_states_and_nothing_else(bundle: Bundle) -> None:
    told = conditioner(bundle)
    found = told.conditioning(told.ids("a red bird"), SIZE)
    assert {port: value.shape for port, value in found.items()} == {"states": (LENGTH, WIDTH)}


def test_two_encoders_give_states_side_by_side_the_last_ones_pooled_and_the_sizes(two: Bundle) -> None:
    told = conditioner(two)
    ids = told.ids("a red bird")
    found = told.conditioning(ids, SIZE)
    backend = CpuBackend(threads=1)
    answers = [
        backend.load(two.path(f"{role}.onnx")).run({"token_ids": each[None]})
        for role, each in zip(("text_encoder", "text_encoder_2"), ids.arrays, strict=True)
    ]
    np.testing.assert_array_equal(found["states"], np.concatenate([each["states"][0] for each in answers], axis=-1))
    np.testing.assert_array_equal(found["pooled"], answers[1]["pooled"][0])
    np.testing.assert_array_equal(found["time_ids"], [32, 16, 0, 0, 32, 16])
    assert all(value.dtype == np.float32 for value in found.values())


def test_a_negative_prompt_that_nobody_wrote_is_zeros_and_an_empty_prompt_is_not(two: Bundle) -> None:
    told = conditioner(two)
    absent, empty = told.ids("", "negative_prompt"), told.ids("")
    assert absent != empty
    found = told.conditioning(absent, SIZE)
    assert not found["states"].any()
    assert not found["pooled"].any()
    assert found["time_ids"].any()
    assert told.conditioning(empty, SIZE)["states"].any()
    assert told.conditioning(told.ids("blue", "negative_prompt"), SIZE)["states"].any()


def test_one_encoder_reads_an_empty_negative_prompt_as_a_text(bundle: Bundle) -> None:
    told = conditioner(bundle)
    assert told.ids("", "negative_prompt") == told.ids("")


def test_ids_are_equal_when_every_encoder_reads_the_same(two: Bundle) -> None:
    told = conditioner(two)
    once, again, other = told.ids("a red bird"), told.ids("a  red  bird"), told.ids("a blue bird")
    assert once == again
    assert hash(once) == hash(again)
    assert once != other
    assert "red" not in repr(once)


def test_the_same_words_are_encoded_once(two: Bundle) -> None:
    told = conditioner(two)
    for _ in range(3):
        told.conditioning(told.ids("a red bird"), SIZE)
    assert told.encoded == 2


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(two: Bundle) -> None:
    told = conditioner(two)
    assert told.max_prompt_tokens == LENGTH - 2
    with pytest.raises(PromptTooLong) as refused:
        told.ids("a " * LENGTH, "negative_prompt")
    assert refused.value.param == "negative_prompt"


class Row:
    """A LoRA that changes the first text encoder."""

    def key(self, role: str) -> tuple[tuple[str, float], ...]:
        return (("sha256:1", 0.5),) if role == "text_encoder" else ()


class Loras:
    """Slot 1 of every bank is full of ones."""

    asked = 0

    def inputs(self, role: str, rows: Sequence[LoraRow | None]) -> Mapping[str, Input]:
        assert (role, len(rows)) == ("text_encoder", 1)
        self.asked += 1
        bank = np.zeros((2, len(LORA_MODULES), 1, WIDTH), np.float32)
        bank[1] = 1
        weights = {"lora_slots": np.array([[1]]), "lora_weights": np.array([[0.5]], np.float32)}
        return {**weights, "lora_4x4_down": bank, "lora_4x4_up": bank.transpose(0, 1, 3, 2)}


def test_a_lora_that_changes_a_text_encoder_changes_its_states_and_is_cached_apart(two: Bundle) -> None:
    loras = Loras()
    told = conditioner(two, loras=loras)
    ids = told.ids("a red bird")
    plain, changed = told.conditioning(ids, SIZE), told.conditioning(ids, SIZE, Row())
    sums = 0.5 * plain["states"][:, :WIDTH].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(changed["states"][:, :WIDTH], plain["states"][:, :WIDTH] + sums, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(changed["states"][:, WIDTH:], plain["states"][:, WIDTH:])
    told.conditioning(ids, SIZE, Row())
    assert told.conditioning(ids, SIZE) is not changed
    assert loras.asked == 1


def test_guidance_is_told_where_it_was_distilled_into_the_denoiser(bundle: Bundle, tmp_path: Path) -> None:
    drawing = bundle.drawing.model_copy(update={"embeds_guidance": True})
    distilled = Bundle(bundle.folder, bundle.manifest.model_copy(update={"drawing": drawing}), "")
    told = conditioner(distilled)
    found = told.conditioning(told.ids("a"), SIZE, guidance_scale=4.5)
    assert found["guidance"].shape == ()
    assert np.stack([found["guidance"]] * 2).tolist() == [4.5, 4.5]
