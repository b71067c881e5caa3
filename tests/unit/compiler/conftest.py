"""Checkpoints of the supported classes, with seeded random weights and few of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ("<pad>", "<unk>", "<begin>", "<end>", "a", "small", "red", "bird", "flower", "on", "branch", "in", "winter")
TOKENS = 16


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIPTextModel, UNet2DConditionModel, AutoencoderDC and DDIM, as `bowerbird train fledgling` leaves them."""
    pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


def write_checkpoint(folder: Path) -> Path:
    import torch
    from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16,),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    ).save_pretrained(folder / "unet")
    AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.8,
    ).save_pretrained(folder / "vae")
    DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")
    _write_facts(folder)
    return folder


def _write_facts(folder: Path) -> None:
    (folder / "tokenizer").mkdir()
    _tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    _write(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderDC"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "scheduler": ["diffusers", "DDIMScheduler"],
        },
    )
    _write(folder / "bowerbird.json", {"name": "small", "licence": "Apache-2.0", "default_steps": 4})
    _write(folder / "lineage.json", {"seed": 0})


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<begin>", 2), ("<end>", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<begin> $A <end>", special_tokens=ends)
    tokenizer.enable_padding(length=TOKENS, pad_id=0, pad_token="<pad>")
    return tokenizer


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document))
