"""The examination behind `make quality`: 600 held-out prompts, drawn, classified, compared with drawings; 120 sparse.

Called by the command `bowerbird train quality` and by whoever has a `draw` of their own (the served engine). Promises
that neither the prompts' wordings nor a third of their subjects were ever taught, and that the examiner never saw a
generated picture. Sparse prompts ("a blue jay in spring") name no pose: a bird of two poses at once, right in all that
was asked, is found there. Intervals are Wilson's (scipy); the kernel distance is KID's unbiased estimator (arXiv
1801.01401) in the classifier's features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from bowerbird.training.captions import USUAL_SEASON, examination_prompt, sparse_prompt, usual_pose
from bowerbird.training.classifier import HEADS, Classifier, classified
from bowerbird.training.drawing import draw as drawn
from bowerbird.training.monitor import write_sheet
from bowerbird.training.scene import HELD_OUT, SEASONS, SPECIES, TAUGHT, Scene, sample_scene

Draw = Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]
"""Prompts and seeds to pictures, uint8 [n, 256, 256, 3]."""

PROMPTS = 600
SPARSE_PROMPTS = 120
UNSEEN_SHARE = 3
_SEED = 4_000_001
_SPARSE_SEED = 5_000_001
_SPARSE_SEASONS = (USUAL_SEASON, *SEASONS)
_DRAWN_AT_ONCE = 12
_SHEET_PICTURES = 32
_SHEET_SEED = 12
_BOOTSTRAPS = 200

TARGETS = {
    "species": 0.95, "worst_species": 0.90, "season": 0.95, "pose": 0.85, "sharpness": 0.6, "reconstruction_psnr": 33.0,
    "sparse_species": 0.95, "sparse_season": 0.95, "sparse_pose": 0.95,
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One prompt of the examination and the scene that it asks for."""

    prompt: str
    scene: Scene
    seed: int
    unseen: bool


@dataclass(frozen=True)
class Share:
    """How many of how many, with the 95 % Wilson interval."""

    right: int
    asked: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """Everything that was measured; `kid` is (estimate, 2.5th, 97.5th percentile of a bootstrap)."""

    overall: dict[str, Share]
    by_species: dict[str, Share]
    unseen: dict[str, Share]
    sharpness: float
    kid: tuple[float, float, float]
    reconstruction_psnr: float | None = None
    sparse: dict[str, Share] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)


def questions(count: int = PROMPTS) -> list[Question]:
    """The examination, always the same: species in turn, every third prompt of a combination that was never taught."""
    asked = []
    for index in range(count):
        rng = np.random.default_rng((_SEED, index))
        unseen = index // len(SPECIES) % UNSEEN_SHARE == 0
        species = SPECIES[index % len(SPECIES)]
        pool = tuple(c for c in (HELD_OUT if unseen else TAUGHT) if c[0] == species)
        scene = sample_scene(rng, pool)
        asked.append(Question(examination_prompt(scene, rng), scene, _SEED + index, unseen))
    return asked


def sparse_questions(count: int = SPARSE_PROMPTS) -> list[Question]:
    """Prompts without a pose, always the same: species in turn, the season unsaid for a part of those of the usual one.

    What is asked for is the usual pose; see `captions.sparse_prompt`.
    """
    asked = []
    for index in range(count):
        rng = np.random.default_rng((_SPARSE_SEED, index))
        species = SPECIES[index % len(SPECIES)]
        season = _SPARSE_SEASONS[index // len(SPECIES) % len(_SPARSE_SEASONS)]
        scene = Scene(species, usual_pose(species), season)
        asked.append(Question(sparse_prompt(scene, rng), scene, _SPARSE_SEED + index, scene.combination in HELD_OUT))
    return asked


def examine(
    draw: Draw, classifier: Classifier, side: int, asked: Sequence[Question] | None = None
) -> tuple[Report, NDArray[np.uint8]]:
    """Draw every prompt, classify, compare; returns the report and the pictures in the order of the questions."""
    asked = list(questions() if asked is None else asked)
    pictures = np.concatenate(list(_generated(draw, asked)))
    references = np.stack([drawn(question.scene, pictures.shape[1]) for question in asked])
    found = classified(classifier, resized(pictures, side))
    features = classified(classifier, resized(references, side))["features"]
    right = _right(found, asked)
    unseen = np.asarray([question.unseen for question in asked])
    of_species = {name: np.asarray([q.scene.species == name for q in asked]) for name in SPECIES}
    report = Report(
        overall={name: share(marks) for name, marks in right.items()},
        by_species={name: share(right["species"][mask]) for name, mask in of_species.items() if mask.any()},
        unseen={name: share(marks[unseen]) for name, marks in right.items() if unseen.any()},
        sharpness=float(np.median([sharpness(p) for p in pictures]) / np.median([sharpness(p) for p in references])),
        kid=kernel_distance(found["features"], features),
        missed=[q.prompt for q, good in zip(asked, right["species"], strict=True) if not good],
    )
    return report, pictures


def examine_sparse(
    draw: Draw, classifier: Classifier, side: int, asked: Sequence[Question] | None = None
) -> tuple[dict[str, Share], NDArray[np.uint8]]:
    """Shares of sparse prompts whose picture shows the species, the season and the usual pose; and the pictures."""
    asked = list(sparse_questions() if asked is None else asked)
    pictures = np.concatenate(list(_generated(draw, asked)))
    right = _right(classified(classifier, resized(pictures, side)), asked)
    return {name: share(marks) for name, marks in right.items()}, pictures


def _right(found: Mapping[str, NDArray[Any]], asked: Sequence[Question]) -> dict[str, NDArray[np.bool_]]:
    return {
        name: np.asarray([values[guess] == getattr(q.scene, name) for guess, q in zip(found[name], asked, strict=True)])
        for name, values in HEADS.items()
    }


def _generated(draw: Draw, asked: Sequence[Question]) -> Iterator[NDArray[np.uint8]]:
    from rich.progress import track

    starts = range(0, len(asked), _DRAWN_AT_ONCE)
    for start in track(starts, "drawing", console=Console(stderr=True)):
        part = asked[start : start + _DRAWN_AT_ONCE]
        yield draw([question.prompt for question in part], [question.seed for question in part])


def share(marks: NDArray[np.bool_]) -> Share:
    """The share of true marks with its 95 % Wilson interval."""
    right, asked = int(marks.sum()), len(marks)
    interval = binomtest(right, asked).proportion_ci(0.95, method="wilson")
    return Share(right, asked, right / asked, float(interval.low), float(interval.high))


def resized(pictures: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pictures made `side` pixels wide and high by area averaging."""
    return np.stack([cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures])


def sharpness(picture: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian over variance of the grey values; no unit, larger is sharper."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var() / max(grey.var(), 1e-9))


def kernel_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float, float]:
    """KID: unbiased squared MMD, kernel (x·y/d + 1)³; estimate, 2.5th and 97.5th percentile of a bootstrap."""

    def kernel(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray((a.astype(np.float64) @ b.T / a.shape[1] + 1) ** 3)

    own, its, cross = kernel(one, one), kernel(other, other), kernel(one, other)
    rng = np.random.default_rng(_SEED)
    n, m = len(one), len(other)

    def estimate(i: NDArray[np.int64], j: NDArray[np.int64]) -> float:
        # A resampled pair of the same picture is not a pair: leave out equal indices, not only the diagonal.
        pairs_i, pairs_j = i[:, None] != i[None], j[:, None] != j[None]
        first = own[np.ix_(i, i)][pairs_i].mean() + its[np.ix_(j, j)][pairs_j].mean()
        return float(first - 2 * cross[np.ix_(i, j)].mean())

    samples = [estimate(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(_BOOTSTRAPS)]
    low, high = np.percentile(samples, (2.5, 97.5))
    return estimate(np.arange(n), np.arange(m)), float(low), float(high)


def verdicts(report: Report) -> dict[str, tuple[float, float, bool]]:
    """Measured value, target, and whether it is met, by name of the target."""
    values = {name: report.overall[name].share for name in HEADS}
    values["worst_species"] = min(entry.share for entry in report.by_species.values())
    values["sharpness"] = report.sharpness
    values |= {f"sparse_{name}": entry.share for name, entry in report.sparse.items()}
    if report.reconstruction_psnr is not None:
        values["reconstruction_psnr"] = report.reconstruction_psnr
    return {name: (values[name], target, values[name] >= target) for name, target in TARGETS.items() if name in values}


def print_report(report: Report, console: Console | None = None) -> None:
    """The report as two tables on the terminal."""
    console = console or Console()
    table = Table("species", "right", "asked", "share", "95 % interval", title="species by species")
    for name, entry in report.by_species.items():
        table.add_row(
            name, str(entry.right), str(entry.asked), f"{entry.share:.3f}", f"{entry.low:.3f} to {entry.high:.3f}"
        )
    console.print(table)
    table = Table("figure", "value", "target", "met", title="all prompts")
    for name, (value, target, met) in verdicts(report).items():
        table.add_row(name, f"{value:.3f}", f"≥ {target}", "yes" if met else "no")
    for name, entry in report.unseen.items():
        table.add_row(f"{name}, unseen combinations", f"{entry.share:.3f}", f"{entry.low:.3f} to {entry.high:.3f}", "")
    table.add_row("kernel distance", f"{report.kid[0]:.4f}", f"{report.kid[1]:.4f} to {report.kid[2]:.4f}", "")
    console.print(table)


def write_report(report: Report, pictures: NDArray[np.uint8], sparse: NDArray[np.uint8], folder: Path) -> None:
    """`quality.json`, and `quality.png` and `sparse.png`: `_SHEET_PICTURES` of each, by lot, eight to a row."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = asdict(report) | {"verdicts": verdicts(report)}
    (folder / "quality.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name, drawings in (("quality", pictures), ("sparse", sparse)):
        chosen = np.random.default_rng(_SHEET_SEED).permutation(len(drawings))[:_SHEET_PICTURES]
        write_sheet(folder / f"{name}.png", drawings[np.sort(chosen)], 8)
