"""The examination: always the same questions, fair figures, and drawings that pass it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bowerbird.training.captions import POSE_PHRASES, usual_pose
from bowerbird.training.classifier import Classifier, classified
from bowerbird.training.config import FledglingConfig
from bowerbird.training.drawing import draw
from bowerbird.training.quality import (
    PROMPTS,
    Report,
    examine,
    examine_sparse,
    kernel_distance,
    print_report,
    questions,
    resized,
    share,
    sharpness,
    sparse_questions,
    verdicts,
    write_report,
)
from bowerbird.training.scene import HELD_OUT, POSES, SEASONS, SPECIES


def test_the_questions_are_balanced_and_a_third_is_unseen() -> None:
    asked = questions()
    assert len(asked) == PROMPTS == 600
    assert asked == questions()
    for species in SPECIES:
        assert sum(q.scene.species == species for q in asked) == 50
    assert 190 <= sum(q.unseen for q in asked) <= 210
    assert all((q.scene.combination in HELD_OUT) == q.unseen for q in asked)


def test_a_sparse_question_asks_for_the_usual_pose_and_does_not_name_it() -> None:
    asked = sparse_questions()
    assert asked == sparse_questions()
    assert {q.scene.species for q in asked} == set(SPECIES)
    assert {q.scene.season for q in asked} == set(SEASONS)
    assert sum(len(q.prompt.split()) <= 3 for q in asked) >= len(SPECIES)
    for question in asked:
        assert question.scene.pose == usual_pose(question.scene.species)
        assert not any(word in question.prompt for words in POSE_PHRASES.values() for word in words), question.prompt


def test_a_bird_of_another_pose_fails_a_sparse_question(tiny: FledglingConfig) -> None:
    asked = sparse_questions(12)
    scenes = {question.seed: question.scene for question in asked}
    classifier = Classifier(tiny.classifier).eval()
    shares, pictures = examine_sparse(
        lambda prompts, seeds: np.stack([draw(scenes[seed], 64) for seed in seeds]), classifier, 32, asked
    )
    found = classified(classifier, resized(pictures, 32))["pose"]
    assert shares["pose"].right == sum(POSES[k] == q.scene.pose for k, q in zip(found, asked, strict=True))
    assert shares["pose"].asked == 12


def test_shares_carry_wilson_intervals() -> None:
    entry = share(np.asarray([True] * 48 + [False] * 2))
    assert entry.share == 0.96
    assert (entry.low, entry.high) == pytest.approx((0.8654, 0.9890), abs=1e-4)


def test_the_kernel_distance_is_unbiased_and_grows_with_the_difference() -> None:
    rng = np.random.default_rng(0)
    one, same, other = (rng.normal(size=(200, 8)).astype(np.float32) + shift for shift in (0, 0, 1))
    near, low, high = kernel_distance(one, same)
    assert low < 0 < high
    assert abs(near) < 0.1
    assert kernel_distance(one, other)[1] > high


def test_blur_is_less_sharp() -> None:
    import cv2

    picture = draw(questions(1)[0].scene, 96)
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), np.uint8)
    assert sharpness(blurred) < 0.6 * sharpness(picture)


def test_an_examination_of_the_drawings_themselves_finds_no_difference(tiny: FledglingConfig, tmp_path: Path) -> None:
    asked = questions(24)
    scenes = {question.seed: question.scene for question in asked}
    classifier = Classifier(tiny.classifier).eval()
    report, pictures = examine(
        lambda prompts, seeds: np.stack([draw(scenes[seed], 64) for seed in seeds]), classifier, 32, asked
    )
    assert isinstance(report, Report)
    assert report.sharpness == pytest.approx(1.0)
    assert report.kid[0] == pytest.approx(0.0, abs=0.2)
    assert verdicts(report)["sharpness"][2]
    assert len(report.by_species) == 12
    print_report(report)
    write_report(report, pictures, pictures, tmp_path)
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["overall"]["species"]["asked"] == 24
    assert (tmp_path / "quality.png").stat().st_size > 1000
    assert (tmp_path / "sparse.png").stat().st_size > 1000
