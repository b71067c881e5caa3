"""Puts the taught parts together as a diffusers folder, the form that `bowerbird compile` and diffusers read.

Called after every save of the denoiser or of motion, and by the stage `assemble`. Layout: model_index.json, tokenizer/,
text_encoder/, unet/, vae/, scheduler/, for stills judge/ (each float32 safetensors with its configuration) and
lineage.json (where it comes from). A folder is replaced whole: readers never see half of one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bowerbird.training.clips import FRAMES, FRAMES_PER_SECOND
from bowerbird.training.config import FledglingConfig
from bowerbird.training.judge import Judge, save_judge
from bowerbird.training.sampling import GUIDANCE, STEPS, Parts
from bowerbird.training.text import BEGIN, END, PAD, UNKNOWN

_INDEX = {
    "_class_name": "DiffusionPipeline",
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderDC"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}


_CLIPS_INDEX = _INDEX | {
    "_class_name": "AnimateDiffPipeline",
    "unet": ["diffusers", "UNetMotionModel"],
    "motion_adapter": [None, None],
}
"""The motion modules are in the UNet; diffusers then wants no adapter beside it."""


def assemble(
    folder: Path, parts: Parts, judge: tuple[Judge, dict[str, Any]], config: FledglingConfig, lineage: dict[str, Any]
) -> None:
    """Write the model folder; `judge` comes with its calibration, `lineage` with what was trained how long."""
    with _replaced(folder) as fresh:
        _write(fresh / "model_index.json", _INDEX)
        _write_parts(fresh, parts, config)
        save_judge(judge[0], config.judge, fresh / "judge", judge[1])
        _write(fresh / "bowerbird.json", _bundle_facts(config, lineage))
        _write_lineage(fresh, config.name, config, lineage)


def assemble_clips(folder: Path, parts: Parts, config: FledglingConfig, lineage: dict[str, Any]) -> None:
    """Write the folder of the model that draws clips, as diffusers' AnimateDiffPipeline reads it."""
    name = f"{config.name}-motion"
    facts = _bundle_facts(config, lineage) | {"name": name, "motion": _motion_facts(config)}
    with _replaced(folder) as fresh:
        _write(fresh / "model_index.json", _CLIPS_INDEX)
        _write_parts(fresh, parts, config)
        _write(fresh / "bowerbird.json", facts)
        _write_lineage(fresh, name, config, lineage)


def _motion_facts(config: FledglingConfig) -> dict[str, Any]:
    return {
        "window": FRAMES,
        "frames_per_second": FRAMES_PER_SECOND,
        "shared_noise": config.motion.drawn_noise,
        "circle": True,
        "common_mean_from": config.motion.common_mean_from,
    }


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` when all is written."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_parts(fresh: Path, parts: Parts, config: FledglingConfig) -> None:
    (fresh / "tokenizer").mkdir()
    parts.tokenizer.save(str(fresh / "tokenizer" / "tokenizer.json"))
    _write(fresh / "tokenizer" / "tokenizer_config.json", _tokenizer_facts(config))
    for name, part in (("text_encoder", parts.text_encoder), ("unet", parts.unet), ("vae", parts.autoencoder)):
        part.save_pretrained(fresh / name, safe_serialization=True)
    parts.scheduler.save_pretrained(fresh / "scheduler")


def _write_lineage(fresh: Path, name: str, config: FledglingConfig, lineage: dict[str, Any]) -> None:
    facts = {"name": name, "commit": _commit(), "config": config.model_dump(mode="json"), **lineage}
    _write(fresh / "lineage.json", facts)


def _bundle_facts(config: FledglingConfig, lineage: dict[str, Any]) -> dict[str, Any]:
    """What the compiler writes into the bundle beside the graphs."""
    return {
        "name": config.name,
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "lineage": {"data_seed": config.data.seed, **lineage},
        "default_steps": STEPS,
        "default_guidance_scale": GUIDANCE,
    }


def _tokenizer_facts(config: FledglingConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.text.tokens,
        "pad_token": PAD,
        "bos_token": BEGIN,
        "eos_token": END,
        "unk_token": UNKNOWN,
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _commit() -> str | None:
    """The commit of the working tree that trained, where there is one."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "--verify", "-q", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() or None
