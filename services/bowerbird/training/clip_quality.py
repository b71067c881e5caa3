"""The examination of clips: 200 held-out prompts, drawn, classified, and compared with drawn clips of the same.

Called by `bowerbird train clip-quality`, with whatever draws clips. What `quality` promises of its prompts holds here.
How much a clip changes is the mean of |f(t + 1) - f(t)| over its pixels, of 255: what VBench's temporal flickering is
made of (Huang et al., 2024). Its mean over all clips against the drawn clips' is `flicker`, because what a clip changes
beyond what moves in it flickers; a clip `moves` that changes at least half as much as the drawn one of its prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bowerbird.training.clip_captions import clip_prompt
from bowerbird.training.clip_classifier import CLIP_HEADS, ClipClassifier, classified_clips
from bowerbird.training.clip_sheet import DrawClips, write_clip_sheet
from bowerbird.training.clips import MOTIONS, POSES_OF, Clip, draw_clip, sample_clip
from bowerbird.training.quality import UNSEEN_SHARE, Share, resized, share
from bowerbird.training.scene import HELD_OUT, SPECIES, TAUGHT

CLIP_PROMPTS: Final = 200
CLIP_TARGETS: Final = {"motion": 0.80, "species": 0.90, "moves": 0.95}
MAX_FLICKER: Final = 1.5
_SEED: Final = 8_000_001
_MOVES_AT_LEAST: Final = 0.5


@dataclass(frozen=True)
class ClipQuestion:
    """One prompt of the examination and the clip that it asks for."""

    prompt: str
    clip: Clip
    seed: int
    unseen: bool


@dataclass(frozen=True)
class ClipReport:
    """What was measured. `change` is the mean change of 255 of the clips and of the drawn ones, `flicker` their ratio,
    `background` the same two figures of the stillest half of each clip's pixels."""

    overall: dict[str, Share]
    by_motion: dict[str, Share]
    unseen: dict[str, Share]
    moves: Share
    flicker: float
    change: tuple[float, float]
    background: tuple[float, float]


@dataclass(frozen=True)
class _Answer:
    """What is kept of one clip."""

    small: NDArray[np.uint8]
    change: tuple[float, float]
    background: tuple[float, float]


def clip_questions(count: int = CLIP_PROMPTS) -> list[ClipQuestion]:
    """Always the same: motions and species in turn, every third prompt of a combination that was never taught."""
    asked = []
    for index in range(count):
        rng = np.random.default_rng((_SEED, index))
        motion, unseen = MOTIONS[index % len(MOTIONS)], index // len(MOTIONS) % UNSEEN_SHARE == 0
        species = SPECIES[index % len(SPECIES)]
        poses = POSES_OF[motion]
        pool = tuple(c for c in (HELD_OUT if unseen else TAUGHT) if c[1] in poses)
        clip = sample_clip(rng, tuple(c for c in pool if c[0] == species) or pool, motion)
        asked.append(ClipQuestion(clip_prompt(clip, rng), clip, _SEED + index, unseen))
    return asked


def examine_clips(
    draw: DrawClips, classifier: ClipClassifier, side: int, asked: Sequence[ClipQuestion]
) -> tuple[ClipReport, NDArray[np.uint8]]:
    """Draw every prompt, classify, compare; returns the report and the clips, `side` pixels wide and high."""
    answers = list(_answers(draw, side, asked))
    clips = np.stack([answer.small for answer in answers])
    found = classified_clips(classifier, clips)
    right = {
        "motion": np.asarray([told == q.clip.motion for told, q in zip(found["motion"], asked, strict=True)]),
        **{
            name: np.asarray([told == getattr(q.clip.scene, name) for told, q in zip(found[name], asked, strict=True)])
            for name in CLIP_HEADS
            if name != "motion"
        },
    }
    motions, unseen = np.asarray([q.clip.motion for q in asked]), np.asarray([q.unseen for q in asked])
    changes = np.asarray([answer.change for answer in answers])
    report = ClipReport(
        overall={name: share(marks) for name, marks in right.items()},
        by_motion={name: share(right["motion"][motions == name]) for name in MOTIONS if (motions == name).any()},
        unseen={name: share(marks[unseen]) for name, marks in right.items() if unseen.any()},
        moves=share(changes[:, 0] >= _MOVES_AT_LEAST * changes[:, 1]),
        flicker=float(changes[:, 0].mean() / changes[:, 1].mean()),
        change=_pair(changes),
        background=_pair(np.asarray([answer.background for answer in answers])),
    )
    return report, clips


def change(frames: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean |f(t + 1) - f(t)| of 255, of all pixels and of the half that changes least; frames are [n, h, w, 3]."""
    steps = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((0, 3))
    return float(steps.mean()), float(np.sort(steps, axis=None)[: steps.size // 2].mean())


def clip_verdicts(report: ClipReport) -> dict[str, tuple[float, float, bool]]:
    """Measured value, target, and whether it is met, by name of the target; flicker is the one that must stay below."""
    values = {**{name: entry.share for name, entry in report.overall.items()}, "moves": report.moves.share}
    found = {name: (values[name], target, values[name] >= target) for name, target in CLIP_TARGETS.items()}
    return found | {"flicker": (report.flicker, MAX_FLICKER, report.flicker <= MAX_FLICKER)}


def print_clip_report(report: ClipReport, console: Console | None = None) -> None:
    """The report as two tables on the terminal."""
    console = console or Console()
    table = Table("motion", "right", "asked", "share", "95 % interval", title="motion by motion")
    for name, entry in report.by_motion.items():
        interval = f"{entry.low:.3f} to {entry.high:.3f}"
        table.add_row(name, str(entry.right), str(entry.asked), f"{entry.share:.3f}", interval)
    console.print(table)
    table = Table("figure", "value", "target", "met", title="all clips")
    for name, (value, target, met) in clip_verdicts(report).items():
        table.add_row(name, f"{value:.3f}", f"{'≤' if name == 'flicker' else '≥'} {target}", "yes" if met else "no")
    for name, entry in report.unseen.items():
        table.add_row(f"{name}, unseen combinations", f"{entry.share:.3f}", f"{entry.low:.3f} to {entry.high:.3f}", "")
    for name, (mine, drawn) in (("change", report.change), ("change of the stillest half", report.background)):
        table.add_row(f"{name}, of 255", f"{mine:.2f}", f"drawn: {drawn:.2f}", "")
    console.print(table)


def write_clip_report(report: ClipReport, clips: NDArray[np.uint8], folder: Path) -> None:
    """`clips.json`, and `clips.png`: the first of each motion twice, a clip a row."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = asdict(report) | {"verdicts": clip_verdicts(report)}
    (folder / "clips.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    write_clip_sheet(folder / "clips.png", list(clips[: 2 * len(MOTIONS)]))


def _answers(draw: DrawClips, side: int, asked: Sequence[ClipQuestion]) -> Iterator[_Answer]:
    from rich.progress import track

    clips = draw([question.prompt for question in asked], [question.seed for question in asked])
    pairs = zip(clips, asked, strict=True)
    for clip, question in track(pairs, "drawing", total=len(asked), console=Console(stderr=True)):
        mine, drawn = change(clip), change(draw_clip(question.clip, clip.shape[1]))
        yield _Answer(resized(clip, side), (mine[0], drawn[0]), (mine[1], drawn[1]))


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    mine, drawn = values.mean(0)
    return float(mine), float(drawn)
