"""The model folder: whole, readable by diffusers and transformers, and the start of another run."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer
from transformers import AutoTokenizer, CLIPTextModel

from bowerbird.training.adoption import adopt
from bowerbird.training.assembly import assemble
from bowerbird.training.autoencoder import AutoencoderStage
from bowerbird.training.config import FledglingConfig
from bowerbird.training.denoiser import DenoiserStage
from bowerbird.training.judge import Judge, JudgeStage, load_judge
from bowerbird.training.text import token_ids


def assembled(tiny: FledglingConfig, folder: Path) -> tuple[DenoiserStage, Judge]:
    stage = DenoiserStage(tiny, folder, AutoencoderStage(tiny, folder).averaged())
    judge = JudgeStage(tiny, folder).averaged()
    steps = {"steps": {"autoencoder": 3, "denoiser": 5, "judge": 1}}
    assemble(folder / "model", stage.averaged(), (judge, {"rank_1_of_33": 0.9}), tiny, steps)
    return stage, judge


def test_diffusers_and_transformers_load_every_part(tiny: FledglingConfig, tmp_path: Path) -> None:
    stage, _ = assembled(tiny, tmp_path)
    model = tmp_path / "model"
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    text = CLIPTextModel.from_pretrained(model / "text_encoder")
    assert torch.equal(unet.conv_in.weight, stage.average.weights["unet.conv_in.weight"])
    ids = token_ids(stage.tokenizer, ["a robin"])
    with torch.no_grad():
        wanted = stage.averaged().text_encoder(ids).last_hidden_state
        assert torch.allclose(text.eval()(ids).last_hidden_state, wanted, atol=1e-6)
    assert AutoencoderDC.from_pretrained(model / "vae").config.latent_channels == 4
    assert DDIMScheduler.from_pretrained(model / "scheduler").config.prediction_type == "v_prediction"
    tokenizer = AutoTokenizer.from_pretrained(model / "tokenizer")
    assert tokenizer("a robin", padding="max_length").input_ids == ids[0].tolist()
    assert json.loads((model / "lineage.json").read_text(encoding="utf-8"))["steps"]["denoiser"] == 5


def test_the_judge_comes_back_as_it_was(tiny: FledglingConfig, tmp_path: Path) -> None:
    _, judge = assembled(tiny, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer" / "tokenizer.json"))
    again = load_judge(tmp_path / "model" / "judge", tokenizer)
    pixels, ids = torch.rand(2, 3, 32, 32), token_ids(tokenizer, ["a robin", "a jay"])
    with torch.no_grad():
        assert torch.equal(again.image(pixels), judge.image(pixels))
        assert torch.equal(again.text(ids), judge.text(ids))
        assert torch.allclose(again.text(ids).norm(dim=-1), torch.ones(2), atol=1e-5)


def test_a_model_folder_is_the_start_of_another_run(tiny: FledglingConfig, tmp_path: Path) -> None:
    stage, _ = assembled(tiny, tmp_path / "first")
    steps = adopt(tmp_path / "first" / "model", tmp_path / "second")
    again = DenoiserStage(tiny, tmp_path / "second", AutoencoderStage(tiny, tmp_path / "second").averaged())
    assert again.step == steps["denoiser"] == 5
    assert set(again.average.weights) == set(stage.average.weights)
    for name, value in stage.average.weights.items():
        assert torch.equal(again.average.weights[name], value), name


def test_a_folder_is_replaced_whole(tiny: FledglingConfig, tmp_path: Path) -> None:
    assembled(tiny, tmp_path)
    (tmp_path / "model" / "left-over").write_text("x", encoding="utf-8")
    assembled(tiny, tmp_path)
    assert not (tmp_path / "model" / "left-over").exists()
    assert not (tmp_path / "model.new").exists()
    assert not (tmp_path / "model.old").exists()
