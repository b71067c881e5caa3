"""The motion stage: it begins as sixteen stills, continues as if never stopped, and leaves what diffusers loads."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bowerbird.training.assembly import assemble_clips
from bowerbird.training.autoencoder import AutoencoderStage
from bowerbird.training.clip_latents import ClipSet, clip_latents
from bowerbird.training.clip_sampling import mixed_noise, sampled_clips
from bowerbird.training.clips import FRAMES, MOTIONS, Clip, clip_at, draw_clip, sample_clip
from bowerbird.training.config import FledglingConfig
from bowerbird.training.denoiser import DenoiserStage
from bowerbird.training.motion import MotionStage, shown_shares
from bowerbird.training.sampling import Parts
from bowerbird.training.text import token_ids


@pytest.fixture
def stills(tiny: FledglingConfig, tmp_path: Path) -> Parts:
    return DenoiserStage(tiny, tmp_path, AutoencoderStage(tiny, tmp_path).averaged()).averaged()


def latents_of(count: int) -> Tensor:
    return torch.randn(count, FRAMES, 4, 4, 4, generator=torch.Generator().manual_seed(0)).half()


CLIPS = [clip_at(5, index) for index in range(2)]


def test_motion_that_was_not_taught_yet_draws_sixteen_stills(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts
) -> None:
    stage = MotionStage(tiny, tmp_path, stills)
    sample = torch.randn(1, 4, FRAMES, 4, 4)
    states = stills.text_encoder(token_ids(stills.tokenizer, ["a robin in winter"])).last_hidden_state
    parts = stage.averaged()
    with torch.no_grad():
        told = parts.text_encoder(token_ids(parts.tokenizer, ["a robin in winter"])).last_hidden_state
        assert torch.allclose(told, states, atol=1e-6)
        moving = parts.unet(sample, torch.tensor([500]), told.repeat_interleave(FRAMES, 0)).sample[0]
        for frame in (0, 9):
            still = stills.unet(sample[:, :, frame], 500, states).sample[0]
            assert torch.allclose(moving[:, frame], still, atol=1e-4)


def test_an_interrupted_run_continues_as_if_nothing_had_happened(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts
) -> None:
    whole = MotionStage(tiny, tmp_path / "whole", stills)
    for _ in range(2):
        whole.train_step(latents_of(2), CLIPS)
    first = MotionStage(tiny, tmp_path / "parts", stills)
    first.train_step(latents_of(2), CLIPS)
    first.save()
    second = MotionStage(tiny, tmp_path / "parts", stills)
    assert second.step == 1
    second.train_step(latents_of(2), CLIPS)
    for name, value in whole.models.state_dict().items():
        assert torch.equal(value, second.models.state_dict()[name]), name


def test_a_run_that_goes_on_has_the_pace_that_it_is_told_now(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts
) -> None:
    first = MotionStage(tiny, tmp_path, stills)
    first.train_step(latents_of(2), CLIPS)
    first.save()
    faster = tiny.model_copy(update={"motion": tiny.motion.model_copy(update={"others": 0.7})})
    second = MotionStage(faster, tmp_path, stills)
    second.train_step(latents_of(2), CLIPS)
    of_motion, of_others = (group["lr"] for group in second.optimizer.param_groups)
    assert of_others / of_motion == pytest.approx(0.7)


def test_clips_of_a_motion_are_shown_as_often_as_the_run_says() -> None:
    clips = [Clip(sample_clip(np.random.default_rng(7), motion=each).scene, each) for each in MOTIONS]
    assert shown_shares(clips, {}) == pytest.approx(np.full(5, 0.2))
    assert dict(zip(MOTIONS, shown_shares(clips, {"hopping": 6.0}), strict=True))["hopping"] == pytest.approx(0.6)


def test_what_stills_taught_can_be_frozen(tiny: FledglingConfig, tmp_path: Path, stills: Parts) -> None:
    frozen = tiny.model_copy(update={"motion": tiny.motion.model_copy(update={"others": 0.0})})
    stage = MotionStage(frozen, tmp_path, stills)
    before = {name: value.clone() for name, value in stage.models.state_dict().items()}
    stage.train_step(latents_of(2), CLIPS)
    changed = {name for name, value in stage.models.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".motion_modules." in name for name in changed)


def test_a_run_leaves_a_sheet_and_a_folder_that_diffusers_loads(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import UNetMotionModel

    monkeypatch.setattr("bowerbird.training.clip_sheet.SHEET_CLIPS", CLIPS[:1])
    monkeypatch.setattr("bowerbird.training.motion.sampled_clips", partial(sampled_clips, steps=1))
    stage = MotionStage(tiny, tmp_path, stills)
    parts = stage.run(lambda done: assemble_clips(tmp_path / "model", done.averaged(), tiny, {"steps": {"motion": 2}}))
    assert stage.step == 2
    assert (tmp_path / "clips-000002.png").exists()
    unet = UNetMotionModel.from_pretrained(tmp_path / "model" / "unet")
    assert torch.equal(unet.conv_in.weight, parts.unet.conv_in.weight)
    facts = json.loads((tmp_path / "model" / "bowerbird.json").read_text(encoding="utf-8"))
    assert facts["name"] == "fledgling-motion"
    assert facts["motion"] == {
        "window": 16,
        "frames_per_second": 8.0,
        "shared_noise": 0.995,
        "circle": True,
        "common_mean_from": 500.0,
    }


@torch.no_grad()
def test_products_of_half_precision_change_little_and_what_comes_out_is_single(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts
) -> None:
    stage = MotionStage(tiny, tmp_path, stills)
    noisy, at = torch.randn(2, FRAMES, 4, 4, 4), torch.tensor([100, 900])
    told = stage._velocity(noisy, at, ["a robin", ""])
    states = stage.models["text"](token_ids(stage.tokenizer, ["a robin", ""])).last_hidden_state
    exact = stage.models["unet"](noisy.transpose(1, 2), at, states.repeat_interleave(FRAMES, 0)).sample.transpose(1, 2)
    assert told.dtype == torch.float32
    assert (told - exact).std() < 0.02 * exact.std()


def test_clips_are_drawn_once_and_a_larger_set_draws_only_what_is_missing(
    tiny: FledglingConfig, tmp_path: Path, stills: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bowerbird.training import clip_latents as module

    drawn: list[Clip] = []

    def draw(clip: Clip, size: int) -> NDArray[np.uint8]:
        drawn.append(clip)
        return draw_clip(clip, size)

    monkeypatch.setattr(module, "draw_clip", draw)
    monkeypatch.setattr(module, "_CHUNK", 1)
    wanted = ClipSet(9, 1, 64)
    one = clip_latents(tmp_path, wanted, stills.autoencoder)
    assert one.shape == (1, FRAMES, 4, 4, 4)
    more = clip_latents(tmp_path, replace(wanted, count=2), stills.autoencoder)
    assert torch.equal(more[0], one[0])
    assert drawn == [clip_at(9, 0), clip_at(9, 1)]


def test_the_same_seed_and_prompt_give_the_same_clip(tiny: FledglingConfig, tmp_path: Path, stills: Parts) -> None:
    parts = MotionStage(tiny, tmp_path, stills).averaged()
    one = sampled_clips(parts, ["a robin hopping"], [3], 0.5, steps=1)
    assert one.shape == (1, FRAMES, 64, 64, 3)
    assert np.array_equal(one, sampled_clips(parts, ["a robin hopping"], [3], 0.5, steps=1))


def test_mixed_noise_has_unit_variance_and_the_correlation_that_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    common, own = (torch.randn(1, frames, 4, 64, 64, generator=generator) for frames in (1, 3))
    noise = mixed_noise(0.5, common, own)
    assert float(noise.var()) == pytest.approx(1, abs=0.03)
    assert float((noise[:, 0] * noise[:, 2]).mean()) == pytest.approx(0.5, abs=0.03)
