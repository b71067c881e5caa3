"""`bowerbird train …`: the stages of a training run, each resumable, and the examination of its result.

Mounted by the command line (`bowerbird.cli`) when the extra `training` is installed. A run that was stopped anywhere
continues with the same command.
"""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import torch
import typer

from bowerbird.settings import Settings
from bowerbird.training.config import FledglingConfig, read_config

_RECONSTRUCTED = 100
_PROMPTS_A_SPARSE_ONE = 5
_NAMED_BY = 16
"""Digits of a bundle's digest that name the folder of what was drawn with it."""

app = typer.Typer(no_args_is_help=True, help="Train the model that comes with Bowerbird.")


def _home() -> Path:
    return Settings().home / "fledgling"


_Work = Annotated[
    Path, typer.Option(default_factory=_home, help="Folder for checkpoints, curves, sheets and the model.")
]
_Config = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="TOML; default: the packaged run.")]


class Stage(enum.StrEnum):
    """What to train; `all` runs those that the bundle of stills is made of, in this order."""

    ALL = "all"
    AUTOENCODER = "autoencoder"
    JUDGE = "judge"
    CLASSIFIER = "classifier"
    DENOISER = "denoiser"
    DECODER = "decoder"
    ASSEMBLE = "assemble"
    MOTION = "motion"
    ASSEMBLE_MOTION = "assemble-motion"
    CLIP_CLASSIFIER = "clip-classifier"


_CLIP_STAGES = (Stage.MOTION, Stage.ASSEMBLE_MOTION, Stage.CLIP_CLASSIFIER)


@app.callback()
def train() -> None:
    """Train, continue, examine."""


@app.command()
def fledgling(
    config: _Config = None,
    stage: Annotated[Stage, typer.Option(help="One stage, or all.")] = Stage.ALL,
    *,
    work: _Work,
    continue_from: Annotated[Path | None, typer.Option(exists=True, help="A model folder to start from.")] = None,
) -> None:
    """Draw the pictures and train autoencoder, judge, classifier, text encoder and denoiser.

    `decoder` then trains the decoder alone for longer, which sharpens pictures and leaves the denoiser valid. `motion`
    draws clips and teaches the denoiser to move; what it makes, `model-motion`, is written beside the model of stills
    after every save, and by `assemble-motion` from what was saved last. `bowerbird compile` makes a bundle of either.
    """
    settings = _ready(config)
    if continue_from is not None:
        from bowerbird.training.adoption import adopt

        adopt(continue_from, work)
    if stage in (Stage.ALL, Stage.AUTOENCODER, Stage.DECODER):
        from bowerbird.training.autoencoder import AutoencoderStage

        AutoencoderStage(settings, work).run(decoder_alone=stage is Stage.DECODER)
    if stage in (Stage.ALL, Stage.JUDGE):
        from bowerbird.training.judge import JudgeStage

        JudgeStage(settings, work).run()
    if stage in (Stage.ALL, Stage.CLASSIFIER):
        from bowerbird.training.classifier import ClassifierStage

        ClassifierStage(settings, work).run()
    if stage in (Stage.ALL, Stage.DENOISER):
        _denoiser(settings, work).run(lambda done: _assemble(settings, work, done))
    elif stage in (Stage.ASSEMBLE, Stage.DECODER):
        _assemble(settings, work, _denoiser(settings, work))
    if stage in _CLIP_STAGES:
        _clip_stage(settings, work, stage)


@app.command()
def quality(  # noqa: PLR0913 - the options of a command
    config: _Config = None,
    *,
    work: _Work,
    results: Annotated[Path | None, typer.Option(help="Folder for quality.json and .png; default: --work.")] = None,
    bundle: Annotated[Path | None, typer.Option(exists=True, help="A bundle; default: the run's weights.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of the 600 prompts; of the sparse ones a fifth.")] = 600,
    guidance: Annotated[float | None, typer.Option(min=1.0, help="Guidance; default: the model's.")] = None,
) -> None:
    """Examine what is drawn for 600 held-out prompts and 120 that name no pose, in 20 steps.

    The classifier is trained first where the folder has none (a few minutes).
    """
    from bowerbird.training.autoencoder import held_out_pictures, psnr
    from bowerbird.training.classifier import ClassifierStage
    from bowerbird.training.quality import (
        examine,
        examine_sparse,
        print_report,
        questions,
        sparse_questions,
        write_report,
    )

    settings = _ready(config)
    classifier = ClassifierStage(settings, work).run()
    draw, reconstruct = _examinee(settings, work, bundle, guidance)
    report, pictures = examine(draw, classifier, settings.classifier.side, questions(count))
    sparse, sparse_pictures = examine_sparse(
        draw, classifier, settings.classifier.side, sparse_questions(-(-count // _PROMPTS_A_SPARSE_ONE))
    )
    drawn = held_out_pictures(settings, _RECONSTRUCTED)
    report = replace(report, sparse=sparse, reconstruction_psnr=psnr(drawn, reconstruct(drawn)))
    print_report(report)
    write_report(report, pictures, sparse_pictures, results or work)


@app.command("clip-sheet")
def clip_sheet(
    bundle: Annotated[Path, typer.Option(exists=True, help="A bundle that draws clips.")],
    to: Annotated[Path, typer.Option(help="A PNG: every motion, a clip a row.")] = Path("clips.png"),
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; default: the bundle's.")] = None,
) -> None:
    """Draw a clip of each motion with a bundle, to look at."""
    from bowerbird.training.clip_sheet import sheet_clips, write_clip_sheet
    from bowerbird.training.served import clips_by_bundle

    write_clip_sheet(to, sheet_clips(clips_by_bundle(bundle, steps, None)))


@app.command("clip-quality")
def clip_quality(
    bundle: Annotated[Path, typer.Option(exists=True, help="A bundle that draws clips.")],
    config: _Config = None,
    *,
    work: _Work,
    results: Annotated[Path | None, typer.Option(help="Folder for clips.json and .png; default: --work.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of the 200 prompts.")] = 200,
) -> None:
    """Examine the clips that are drawn for 200 held-out prompts in 20 steps: motion, species, flicker; do they move?

    The clips' classifier is trained first where the folder has none (a quarter of an hour). What was drawn is kept in
    --work: an interrupted examination goes on.
    """
    from bowerbird.engine.bundle import Bundle
    from bowerbird.training.clip_classifier import ClipClassifierStage
    from bowerbird.training.clip_quality import clip_questions, examine_clips, print_clip_report, write_clip_report
    from bowerbird.training.sampling import STEPS
    from bowerbird.training.served import clips_by_bundle, kept_clips

    settings = _ready(config)
    classifier = ClipClassifierStage(settings, work).run()
    kept = work / "examined" / Bundle.open(bundle).digest.removeprefix("sha256:")[:_NAMED_BY]
    draw = kept_clips(clips_by_bundle(bundle, STEPS, None), kept)
    report, clips = examine_clips(draw, classifier, settings.clip_classifier.side, clip_questions(count))
    print_clip_report(report)
    write_clip_report(report, clips, results or work)


def _examinee(settings: FledglingConfig, work: Path, bundle: Path | None, guidance: float | None) -> tuple[Any, Any]:
    """What draws, and what encodes and decodes: a compiled bundle, or this run's averaged weights."""
    from bowerbird.training.sampling import GUIDANCE, STEPS, sampled

    if bundle is not None:
        from bowerbird.training.served import drawn_by_bundle, reconstructed_by_bundle

        return drawn_by_bundle(bundle, STEPS, guidance), partial(reconstructed_by_bundle, bundle)
    from bowerbird.training.autoencoder import reconstructed

    parts = _denoiser(settings, work).averaged()
    return partial(sampled, parts, guidance=guidance or GUIDANCE), partial(reconstructed, parts.autoencoder)


def _ready(config: Path | None) -> FledglingConfig:
    settings = read_config(config)
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    return settings


def _denoiser(settings: FledglingConfig, work: Path) -> Any:
    from bowerbird.training.autoencoder import AutoencoderStage
    from bowerbird.training.denoiser import DenoiserStage

    return DenoiserStage(settings, work, AutoencoderStage(settings, work).averaged())


def _clip_stage(settings: FledglingConfig, work: Path, stage: Stage) -> None:
    if stage is Stage.CLIP_CLASSIFIER:
        from bowerbird.training.clip_classifier import ClipClassifierStage

        ClipClassifierStage(settings, work).run()
        return
    from bowerbird.training.assembly import assemble_clips
    from bowerbird.training.motion import MotionStage

    stills = _denoiser(settings, work)
    steps = {"autoencoder": _steps_of_autoencoder(settings, work), "denoiser": stills.step}

    def assemble(done: MotionStage) -> None:
        lineage = {"steps": {**steps, "motion": done.step}}
        assemble_clips(work / "model-motion", done.averaged(), settings, lineage)

    motion = MotionStage(settings, work, stills.averaged())
    if stage is Stage.MOTION:
        motion.run(assemble)
    else:
        assemble(motion)


def _steps_of_autoencoder(settings: FledglingConfig, work: Path) -> int:
    from bowerbird.training.autoencoder import AutoencoderStage

    return AutoencoderStage(settings, work).step


def _assemble(settings: FledglingConfig, work: Path, stage: Any) -> None:
    """Write the model folder with what there is; an untaught judge is marked by its 0 steps in the lineage."""
    from bowerbird.training.assembly import assemble
    from bowerbird.training.autoencoder import AutoencoderStage
    from bowerbird.training.judge import JudgeStage

    judging = JudgeStage(settings, work)
    measured = work / "judge.json"
    calibration = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}
    steps = {"autoencoder": AutoencoderStage(settings, work).step, "judge": judging.step, "denoiser": stage.step}
    assemble(work / "model", stage.averaged(), (judging.averaged(), calibration), settings, {"steps": steps})
