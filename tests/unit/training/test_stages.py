"""Training stages: a run that was stopped and continued ends like one that was not; parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bowerbird.training.autoencoder import (
    AutoencoderStage,
    as_input,
    as_pictures,
    detail_nearby,
    psnr,
    warm_cosine,
)
from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.classifier import ClassifierStage
from bowerbird.training.config import FledglingConfig, read_config
from bowerbird.training.denoiser import DenoiserStage, spread_timesteps, trapezoid
from bowerbird.training.judge import JudgeStage
from bowerbird.training.pictures import PictureSet, drawn_pictures
from bowerbird.training.sampling import sampled
from bowerbird.training.scene import COMBINATIONS, Scene


def weights_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def assert_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for name, value in weights_of(one).items():
        assert torch.equal(value, other[name]), name


def latents_of(tiny: FledglingConfig) -> Tensor:
    return torch.randn(tiny.data.train, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def test_an_interrupted_autoencoder_continues_as_if_nothing_had_happened(tiny: FledglingConfig, tmp_path: Path) -> None:
    pictures = drawn_pictures(tmp_path, PictureSet(1, 6, 64), workers=1)
    whole = AutoencoderStage(tiny, tmp_path / "whole")
    for _ in range(3):
        whole.train_step(pictures)
    first = AutoencoderStage(tiny, tmp_path / "parts")
    first.train_step(pictures)
    first.save()
    second = AutoencoderStage(tiny, tmp_path / "parts")
    assert second.step == 1
    second.train_step(pictures)
    second.train_step(pictures)
    assert_same(whole.model.state_dict(), second.model.state_dict())
    assert_same(whole.average.weights, second.average.weights)


def test_an_interrupted_denoiser_continues_as_if_nothing_had_happened(tiny: FledglingConfig, tmp_path: Path) -> None:
    autoencoder = AutoencoderStage(tiny, tmp_path).averaged()
    latents, scenes = latents_of(tiny), PictureSet(1, tiny.data.train, 64).scenes()
    whole = DenoiserStage(tiny, tmp_path / "whole", autoencoder)
    for _ in range(3):
        whole.train_step(latents, scenes)
    first = DenoiserStage(tiny, tmp_path / "parts", autoencoder)
    first.train_step(latents, scenes)
    first.save()
    second = DenoiserStage(tiny, tmp_path / "parts", autoencoder)
    for _ in range(2):
        second.train_step(latents, scenes)
    assert_same(whole.models.state_dict(), second.models.state_dict())


def test_a_denoiser_continues_from_averaged_half_precision_weights_alone(tiny: FledglingConfig, tmp_path: Path) -> None:
    autoencoder = AutoencoderStage(tiny, tmp_path).averaged()
    stage = DenoiserStage(tiny, tmp_path, autoencoder)
    stage.train_step(latents_of(tiny), PictureSet(1, tiny.data.train, 64).scenes())
    half = {name: value.half() for name, value in stage.average.weights.items()}
    save_state(tmp_path / "denoiser.pt", {"step": 7, "average": half})
    again = DenoiserStage(tiny, tmp_path, autoencoder)
    assert again.step == 7
    assert next(iter(again.average.weights.values())).dtype == torch.float32
    assert np.isfinite(again.train_step(latents_of(tiny), PictureSet(1, tiny.data.train, 64).scenes()))


@pytest.mark.parametrize("kind", [JudgeStage, ClassifierStage])
def test_judge_and_classifier_learn_save_and_continue(
    kind: type[JudgeStage | ClassifierStage], tiny: FledglingConfig, tmp_path: Path
) -> None:
    stage = kind(tiny, tmp_path)
    stage.run()
    assert stage.step == 4
    again = kind(tiny, tmp_path)
    assert again.step == 4
    assert_same(stage.average.weights, again.average.weights)


def test_the_same_seed_and_prompt_give_the_same_picture(tiny: FledglingConfig, tmp_path: Path) -> None:
    stage = DenoiserStage(tiny, tmp_path, AutoencoderStage(tiny, tmp_path).averaged())
    parts = stage.averaged()
    one = sampled(parts, ["a robin", "zebra? yes"], [1, 2], steps=2)
    other = sampled(parts, ["zebra? yes"], [2], steps=2)
    assert one.shape == (2, 64, 64, 3)
    assert np.abs(one[1].astype(int) - other[0].astype(int)).max() <= 1


def test_a_state_is_replaced_whole(tmp_path: Path) -> None:
    save_state(tmp_path / "a.pt", {"step": 1})
    save_state(tmp_path / "a.pt", {"step": 2})
    assert load_state(tmp_path / "a.pt") == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
    assert load_state(tmp_path / "b.pt") is None


def test_a_step_draws_the_same_numbers_whenever_it_runs() -> None:
    first = (seed_step(5, 9).random(), float(torch.rand(())))
    seed_step(5, 10)
    assert first == (seed_step(5, 9).random(), float(torch.rand(())))


def test_an_average_follows_the_weights() -> None:
    module = torch.nn.Linear(2, 2)
    average = Average(module, 0.9)
    with torch.no_grad():
        module.weight.zero_()
    for step in range(200):
        average.update(module, step)
    assert float(average.weights["weight"].abs().max()) < 1e-3


def test_pictures_survive_the_way_to_the_network_and_back() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert np.array_equal(as_pictures(as_input(pictures)), pictures)


def test_the_detail_term_wants_a_crisp_edge_beside_where_squares_want_a_blurred_one() -> None:
    edge = torch.full((1, 3, 32, 32), -1.0)
    edge[..., 16:] = 1.0
    beside = torch.full((1, 3, 32, 32), -1.0)
    beside[..., 17:] = 1.0
    padded = torch.nn.functional.pad(edge, (2, 2, 2, 2), mode="replicate")
    blurred = torch.nn.functional.avg_pool2d(padded, 5, 1)

    def off(answer: Tensor) -> Tensor:
        return (detail_nearby(answer) - detail_nearby(edge)).abs().mean()

    assert off(beside) < off(blurred)
    assert torch.nn.functional.mse_loss(beside, edge) > torch.nn.functional.mse_loss(blurred, edge)


def test_psnr_is_the_textbook_figure() -> None:
    black = np.zeros((1, 4, 4, 3), np.uint8)
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)


def test_learning_rates_rise_hold_and_fall() -> None:
    assert trapezoid(0, 1000, 200) < trapezoid(150, 1000, 200) == 1.0
    assert trapezoid(899, 1000, 200) == pytest.approx(0.505)
    assert trapezoid(5000, 1000, 200) == 0.02
    assert trapezoid(500, 1000, 200, began=500) == trapezoid(0, 1000, 200)
    assert warm_cosine(0, 1000) < warm_cosine(100, 1000)
    assert warm_cosine(1000, 1000) == pytest.approx(0.01)


def test_timesteps_cover_the_whole_schedule_in_every_batch() -> None:
    noisy = spread_timesteps(np.random.default_rng(0), 1000, power=0.5)
    assert np.mean(noisy >= 500) == pytest.approx(0.75, abs=0.002)
    timesteps = np.sort(spread_timesteps(np.random.default_rng(0), 10))
    assert [value // 100 for value in timesteps] == list(range(10))


def test_the_packaged_configuration_is_valid_and_another_file_can_replace_it(tmp_path: Path) -> None:
    assert read_config().data.size == 256
    (tmp_path / "run.toml").write_text("[denoiser]\nsteps = 9\n", encoding="utf-8")
    assert read_config(tmp_path / "run.toml").denoiser.steps == 9
    with pytest.raises(ValueError, match="stepz"):
        FledglingConfig.model_validate({"denoiser": {"stepz": 1}})


def test_judge_batches_hold_no_scene_twice(tiny: FledglingConfig) -> None:
    from bowerbird.training.judge import _different_scenes

    by_species: dict[str, list[tuple[int, Scene]]] = {}
    for index, scene in enumerate(PictureSet(3, 300, 32, COMBINATIONS).scenes()):
        by_species.setdefault(scene.species, []).append((index, scene))
    chosen = _different_scenes(np.random.default_rng(0), by_species, 48)
    combinations = [scene.combination for _, scene in chosen]
    assert len(set(combinations)) == len(combinations) >= 40
    assert len({replace(scene, layout=0).species for _, scene in chosen}) == 8
