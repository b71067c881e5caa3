"""Small checkpoints of every family and what they compile to: written and exported once for all tests of a session.

Exports are slow, and what two checkpoints share (a decoder, a UNet with another sampler) is found in the cache.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from benchmarks.checkpoints import SHAPES, SMALL_TAESD, Shape, write_checkpoint
from bowerbird.contracts import Size
from bowerbird.engine.bundle import Bundle

if TYPE_CHECKING:
    from bowerbird.compiler.compiling import Options
    from bowerbird.compiler.export import ExportCache

WORDS = ("<pad>", "<unk>", "<begin>", "<end>", "a", "small", "red", "bird", "flower", "on", "branch", "in", "winter")
TOKENS = 16
MAX_STEPS = 6
OF_TWO_SIZES = {"small-sd", "small-v", "small-animatediff", "small-svd"}


@dataclass(frozen=True)
class Compiled:
    """A checkpoint, its bundle, and what was said while it was compiled."""

    checkpoint: Path
    bundle: Bundle
    said: list[str] = field(default_factory=list)


Compile = Callable[..., Compiled]


KEPT_EXPORTS = 400
"""Entries of some 100 kB each; beyond them the oldest go."""


@pytest.fixture(scope="session")
def exports() -> ExportCache:
    """The cache that all compiles share, from one run to the next as the compiler's own does: its keys name whatever
    makes a graph, this checkout's sources too, and a new machine exports everything.
    """
    torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    from bowerbird.compiler.export import ExportCache

    torch.set_num_threads(1)  # models this small are all waiting for each other otherwise

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bowerbird" / "exports-of-tests"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)[KEPT_EXPORTS:]:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return ExportCache(folder)


@pytest.fixture(scope="session")
def compile_folder(exports: ExportCache) -> Compile:
    """Compiles a folder with few steps and without LoRA, unless a test wants it otherwise."""
    from bowerbird.compiler.checkpoint import Checkpoint
    from bowerbird.compiler.compiling import Compilation, Identity, Options, compile_checkpoint

    def compiled(checkpoint: Path, target: Path, cache: ExportCache | None = None, **different: Any) -> Compiled:
        said: list[str] = []
        options: Options = Options(**({"lora": False, "max_steps": MAX_STEPS} | different))
        identity = Identity(checkpoint.name, "1", "Apache-2.0", default_steps=2)
        compilation = Compilation(Checkpoint(checkpoint), cache or exports, said.append, options)
        return Compiled(checkpoint, compile_checkpoint(compilation, target, identity), said)

    return compiled


@pytest.fixture(scope="session")
def family(compile_folder: Compile, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compiled]:
    """A family of `benchmarks.checkpoints`, compiled when it is first asked for; some for two sizes.

    AnimateDiff with a graph in fp16 too: all that a motion denoiser can be compiled to, in one export.
    """

    @cache
    def of(name: str) -> Compiled:
        folder = tmp_path_factory.mktemp(name)
        checkpoint = write_checkpoint(folder / "checkpoint", shape_of(name))
        sizes = (Size(width=32, height=16), Size(width=16, height=16)) if name in OF_TWO_SIZES else ()
        return compile_folder(checkpoint, folder / "bundle", sizes=sizes, half=name == "small-animatediff")

    return of


def shape_of(name: str) -> Shape:
    """Stable Diffusion has a tiny autoencoder beside it."""
    from dataclasses import replace

    shape = SHAPES[name]
    return replace(shape, preview=SMALL_TAESD) if name == "small-sd" else shape


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIPTextModel, UNet2DConditionModel, AutoencoderDC and DDIM, as `bowerbird train fledgling` leaves them."""
    pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    return write_fledgling(tmp_path_factory.mktemp("checkpoints") / "small")


def write_fledgling(folder: Path) -> Path:
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
