"""A LoRA file is used whole, as its trainer meant it, or refused with the reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bowerbird.engine.backend import Array, Floats
from bowerbird.engine.lora.files import MAX_RANK, LoraFile
from bowerbird.engine.lora.shelf import LoraShelf
from bowerbird.errors import LoraInvalid

from .small_model import (
    ALL,
    DIALECTS,
    DOWN,
    Keys,
    Matrices,
    Module,
    bank_of,
    diffusers,
    kohya,
    kohya_original,
    matrices,
    peft,
    raw,
    tensors,
    write,
    write_bfloat16,
)

TO_Q: Module = ("denoiser", f"{DOWN}.attn1.to_q")
TO_K: Module = ("denoiser", f"{DOWN}.attn2.to_k")


def found(file: LoraFile) -> dict[Module, tuple[Floats, Floats]]:
    """What was understood, as `matrices` gives it."""
    pairs = {}
    for role, path in ALL:
        bank = bank_of((role, path))
        stack, layer = file.stacks.get((role, bank.name)), bank.modules.index(path)
        if stack is not None and (stack.down[layer].any() or stack.up[layer].any()):
            pairs[role, path] = stack.down[layer], stack.up[layer]
    return pairs


def assert_equal(ours: Matrices, theirs: Matrices, scale: float = 1.0) -> None:
    assert ours.keys() == theirs.keys()
    for module, (down, up) in theirs.items():
        np.testing.assert_array_equal(ours[module][0], down)
        np.testing.assert_allclose(ours[module][1], up * np.float32(scale), rtol=1e-6)


@pytest.mark.parametrize("keys", DIALECTS)
def test_every_dialect_names_the_same_modules(folder: Path, shelf: LoraShelf, keys: Keys) -> None:
    given_ = matrices(seed=1, rank=3)
    write(folder, "one", tensors(given_, keys))
    file = shelf.find("one")
    assert_equal(found(file), given_)
    assert file.rank == 3
    assert file.roles == {"denoiser", "text_encoder", "text_encoder_2"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dialects=st.lists(st.sampled_from(DIALECTS), min_size=len(ALL), max_size=len(ALL)),
    chosen=st.sets(st.sampled_from(ALL), min_size=1),
    rank=st.integers(1, MAX_RANK),
)
def test_dialects_may_be_mixed_and_modules_left_out(
    folder: Path, shelf: LoraShelf, dialects: list[Keys], chosen: set[Module], rank: int
) -> None:
    given_ = matrices(seed=rank, rank=rank, modules=tuple(module for module in ALL if module in chosen))
    by_module = dict(zip(ALL, dialects, strict=True))
    write(folder, "mixed", tensors(given_, lambda module: by_module[module](module)))
    assert_equal(found(shelf.find("mixed")), given_)


def test_a_file_without_prefixes_is_the_unets(folder: Path, shelf: LoraShelf) -> None:
    given_ = matrices(1, 2, (TO_Q,))
    write(folder, "bare", {key.removeprefix("unet."): value for key, value in tensors(given_).items()})
    assert_equal(found(shelf.find("bare")), given_)


def test_sd1s_only_text_encoder_has_no_number_in_kohyas_names(folder: Path, shelf: LoraShelf) -> None:
    given_ = matrices(1, 2, tuple(module for module in ALL if module[0] == "text_encoder"))
    write(folder, "te", {k.replace("lora_te1_", "lora_te_"): v for k, v in tensors(given_, kohya).items()})
    assert_equal(found(shelf.find("te")), given_)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_matrices_are_read_in_any_float(folder: Path, shelf: LoraShelf, dtype: type) -> None:
    given_ = matrices(2, 4)
    write(folder, "halves", tensors(given_, dtype=dtype))
    assert_equal(found(shelf.find("halves")), given_)


def test_bfloat16_is_read_too(folder: Path, shelf: LoraShelf) -> None:
    given_ = {m: (d.round(), u.round()) for m, (d, u) in matrices(2, 4).items()}  # small integers have few bits
    write_bfloat16(folder, "bf16", tensors(given_))
    assert_equal(found(shelf.find("bf16")), given_)


def test_matrices_of_1x1_convolutions_fit_linear_layers(folder: Path, shelf: LoraShelf) -> None:
    given_ = matrices(3, 2)
    write(folder, "convolutions", {key: value[..., None, None] for key, value in tensors(given_).items()})
    assert_equal(found(shelf.find("convolutions")), given_)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(alpha=st.floats(0.125, 128, width=16), rank=st.integers(1, 8), keys=st.sampled_from([kohya, kohya_original]))
def test_alpha_over_rank_is_folded_into_up(folder: Path, shelf: LoraShelf, alpha: float, rank: int, keys: Keys) -> None:
    given_ = matrices(4, rank)
    stems = (keys(module)[0].removesuffix(".lora_down.weight") for module in ALL)
    write(folder, "alpha", tensors(given_, keys) | {f"{stem}.alpha": np.array(alpha, np.float16) for stem in stems})
    assert_equal(found(shelf.find("alpha")), given_, scale=alpha / rank)


def test_modules_of_smaller_rank_are_padded(folder: Path, shelf: LoraShelf) -> None:
    large, small = matrices(5, 4, (TO_Q,)), matrices(6, 1, (TO_K,))
    write(folder, "ranks", tensors(large | small, kohya))
    ours = found(shelf.find("ranks"))
    np.testing.assert_array_equal(ours[TO_K][0], np.pad(small[TO_K][0], ((0, 3), (0, 0))))
    np.testing.assert_array_equal(ours[TO_K][1], np.pad(small[TO_K][1], ((0, 0), (0, 3))))
    assert_equal({TO_Q: ours[TO_Q]}, large)


def test_alpha_of_one_module_is_its_own(folder: Path, shelf: LoraShelf) -> None:
    given_ = matrices(5, 4, (TO_Q, TO_K))
    stem = kohya(TO_Q)[0].removesuffix(".lora_down.weight")
    write(folder, "own", {**tensors(given_, kohya), f"{stem}.alpha": np.array([2.0], np.float16)})
    ours = found(shelf.find("own"))
    np.testing.assert_allclose(ours[TO_Q][1], given_[TO_Q][1] * 0.5)
    np.testing.assert_array_equal(ours[TO_K][1], given_[TO_K][1])


def test_the_alpha_that_diffusers_states_in_the_metadata_counts(folder: Path, shelf: LoraShelf) -> None:
    given_ = matrices(6, 4)
    adapter = {
        "unet.r": 4,
        "unet.lora_alpha": 8,
        "unet.alpha_pattern": {"attn2.to_k": 2},
        "text_encoder.lora_alpha": 12,
        "text_encoder.use_rslora": True,
        "text_encoder.alpha_pattern": {"text_model.encoder.layers.0.mlp.fc1": 6},
    }
    write(folder, "metadata", tensors(given_), {"lora_adapter_metadata": json.dumps(adapter)})
    ours = found(shelf.find("metadata"))
    for module, (_, up) in given_.items():
        role, path = module
        scale = {"denoiser": 8 / 4, "text_encoder": 12 / 2, "text_encoder_2": 1.0}[role]
        scale = 2 / 4 if path.endswith("attn2.to_k") else 6 / 2 if path.endswith("fc1") else scale
        np.testing.assert_allclose(ours[module][1], up * np.float32(scale), rtol=1e-6)


def test_the_digest_is_that_of_the_bytes(folder: Path, shelf: LoraShelf) -> None:
    path = write(folder, "one", tensors(matrices(1, 2)))
    assert shelf.find("one").digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("form", ["{}", "{}  one.safetensors\n", "sha256:{}\n"])
def test_a_right_sidecar_is_accepted(folder: Path, shelf: LoraShelf, form: str) -> None:
    path = write(folder, "one", tensors(matrices(1, 2)))
    (folder / "one.sha256").write_text(form.format(hashlib.sha256(path.read_bytes()).hexdigest()))
    assert shelf.find("one").rank == 2


@pytest.mark.parametrize(
    ("sidecar", "reason"), [("0" * 64, "states another"), ("", "does not begin"), ("0" * 63 + "g", "does not begin")]
)
def test_a_wrong_sidecar_is_refused_before_the_file_is_parsed(
    folder: Path, shelf: LoraShelf, sidecar: str, reason: str
) -> None:
    (folder / "one.safetensors").write_bytes(b"no safetensors at all")
    (folder / "one.sha256").write_text(sidecar)
    with pytest.raises(LoraInvalid, match=reason):
        shelf.find("one")


Change = Callable[[dict[str, Array]], dict[str, Array]]
DOWN_KEY, UP_KEY = peft(TO_Q)

WRONG: dict[str, tuple[Change, str]] = {
    "nan": (lambda c: {**c, DOWN_KEY: c[DOWN_KEY] * np.float32(np.nan)}, r"attn1\.to_q .*not finite"),
    "infinite": (lambda c: {**c, UP_KEY: c[UP_KEY] + np.float32(np.inf)}, "not finite"),
    "beyond 16 bits": (lambda c: {**c, UP_KEY: c[UP_KEY] + np.float32(1e5)}, "beyond 65504"),
    "float64": (lambda c: {**c, UP_KEY: c[UP_KEY].astype(np.float64)}, "is F64"),
    "integers": (lambda c: {**c, UP_KEY: c[UP_KEY].astype(np.int32)}, "is I32"),
    "other width": (lambda c: {**c, DOWN_KEY: c[DOWN_KEY][:, :7]}, r"\(2, 7\).* \(2, 8\) and \(8, 2\) fit"),
    "other ranks": (lambda c: {**c, UP_KEY: c[UP_KEY][:, :1]}, r"\(8, 1\)"),
    "vector": (lambda c: {**c, DOWN_KEY: c[DOWN_KEY][0]}, "rank 0"),
    "3x3 convolution": (lambda c: {**c, DOWN_KEY: np.zeros((2, 8, 3, 3), np.float32)}, "rank 0"),
    "rank 0": (lambda c: {**c, DOWN_KEY: c[DOWN_KEY][:0], UP_KEY: c[UP_KEY][:, :0]}, "rank 0"),
    "no up": (lambda c: {key: value for key, value in c.items() if key != UP_KEY}, "lacks its up"),
    "no down": (lambda c: {key: value for key, value in c.items() if key != DOWN_KEY}, "lacks its down"),
    "alpha only": (lambda _: {f"unet.{TO_Q[1]}.alpha": np.array(1.0, np.float32)}, "lacks its down"),
    "alpha is nan": (lambda c: {**c, f"unet.{TO_Q[1]}.alpha": np.array(np.nan, np.float32)}, "one finite number"),
    "alpha is many": (lambda c: {**c, f"unet.{TO_Q[1]}.alpha": np.ones(2, np.float32)}, "one finite number"),
    "alpha overflows": (lambda c: {**c, f"unet.{TO_Q[1]}.alpha": np.array(3e38, np.float32)}, "not finite"),
    "twice": (lambda c: {**c, diffusers(TO_Q)[0]: c[DOWN_KEY]}, "twice"),
    "empty": (lambda _: {}, "no tensors"),
    "dora": (lambda c: {**c, f"unet.{TO_Q[1]}.dora_scale": np.ones((1, 8), np.float32)}, "no place for 1 .*dora_scale"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(folder: Path, shelf: LoraShelf, wrong: str) -> None:
    change, reason = WRONG[wrong]
    write(folder, "wrong", change(tensors(matrices(1, 2, (TO_Q, TO_K)))))
    with pytest.raises(LoraInvalid, match=f"The LoRA wrong cannot be used: .*{reason}") as refusal:
        shelf.find("wrong")
    assert refusal.value.param == "lora"


def test_a_rank_above_the_largest_is_refused(folder: Path, shelf: LoraShelf) -> None:
    write(folder, "large", tensors(matrices(1, MAX_RANK + 1, (TO_Q,))))
    with pytest.raises(LoraInvalid, match="rank 65; 1-64"):
        shelf.find("large")


def test_modules_without_a_place_are_named_and_counted(folder: Path, shelf: LoraShelf) -> None:
    foreign = {
        f"lora_unet_down_blocks_{k}_resnets_0_conv1.{which}": np.ones(1, np.float32)
        for k in range(7)
        for which in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    write(folder, "locon", tensors(matrices(1, 2)) | foreign)
    reason = r"no place for 7 of its modules: (lora_unet\S+, ){4}\S+ and 2 more"
    with pytest.raises(LoraInvalid, match=reason) as refused:
        shelf.find("locon")
    assert "blocks_4" in refused.value.message
    assert "blocks_5" not in refused.value.message


def test_a_refusal_does_not_repeat_endless_names(folder: Path, shelf: LoraShelf) -> None:
    write(folder, "long", {"x" * 100_000: np.ones(1, np.float32)})
    with pytest.raises(LoraInvalid, match="no place for 1 of its modules: xxx") as refused:
        shelf.find("long")
    assert len(refused.value.message) < 300


ADAPTERS = {"no json": "{", "no object": "[]", "deep": "[" * 100_000, "dora": '{"unet.use_dora": true}'} | {
    f"alpha is {value}": f'{{"unet.lora_alpha": {value}}}' for value in ("[1]", "null", "NaN", '"a"', "1" + "0" * 400)
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_metadata_that_means_something_else_is_refused(folder: Path, shelf: LoraShelf, adapter: str) -> None:
    write(folder, "odd", tensors(matrices(1, 2)), {"lora_adapter_metadata": ADAPTERS[adapter]})
    with pytest.raises(LoraInvalid, match=r"safetensors|JSON|DoRA|one finite number"):
        shelf.find("odd")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_truncated_or_altered_file_is_refused_or_read_as_what_it_is(
    folder: Path, shelf: LoraShelf, data: st.DataObject
) -> None:
    whole = write(folder, "whole", tensors(matrices(1, 2, (TO_Q, TO_K)))).read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(min_size=1, max_size=4))
    damaged = data.draw(st.sampled_from([whole[:cut], whole[:cut] + other + whole[cut + len(other) :], whole + other]))
    (folder / "damaged.safetensors").write_bytes(damaged)
    digest = f"sha256:{hashlib.sha256(damaged).hexdigest()}"
    try:
        seen = shelf.find("damaged").digest
    except LoraInvalid:
        seen = "refused"
    # A value may have become another one: that is another LoRA, and never one of another length.
    assert seen in (("refused", digest) if len(damaged) == len(whole) else ("refused",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 8 + b"{}",
        (1 << 30).to_bytes(8, "little") + b"{}",
        b"PK\x03\x04" + b"\0" * 100,
        raw({"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}, b"\0" * 4),
        raw({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}, b"\0" * 4),
        raw({"a": [[]]}, b""),
    ],
)
def test_a_foreign_file_is_refused(folder: Path, shelf: LoraShelf, content: bytes) -> None:
    (folder / "foreign.safetensors").write_bytes(content)
    with pytest.raises(LoraInvalid, match="truncated, or no safetensors file"):
        shelf.find("foreign")


def test_a_huge_file_is_refused_unread(folder: Path, shelf: LoraShelf) -> None:
    with (folder / "huge.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no room
    with pytest.raises(LoraInvalid, match="larger than"):
        shelf.find("huge")


def test_every_module_at_the_largest_rank_is_not_too_large(folder: Path, shelf: LoraShelf) -> None:
    write(folder, "full", tensors(matrices(1, MAX_RANK)))
    assert shelf.find("full").rank == MAX_RANK


def test_banks_state_the_shapes_that_the_tests_rely_on() -> None:
    assert (bank_of(TO_Q).in_features, bank_of(TO_Q).out_features) == (8, 8)
