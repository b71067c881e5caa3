"""The examination: always the same questions, fair figures, and drawings that pass it."""

import json

import numpy as np
import pytest

from bowerbird.training.classifier import Classifier
from bowerbird.training.drawing import draw
from bowerbird.training.quality import (
    PROMPTS,
    Report,
    examine,
    kernel_distance,
    print_report,
    questions,
    share,
    sharpness,
    verdicts,
    write_report,
)
from bowerbird.training.scene import HELD_OUT, SPECIES


def test_the_questions_are_balanced_and_a_third_is_unseen():
    asked = questions()
    assert len(asked) == PROMPTS == 600
    assert asked == questions()
    for species in SPECIES:
        assert sum(q.scene.species == species for q in asked) == 50
    assert 190 <= sum(q.unseen for q in asked) <= 210
    assert all((q.scene.combination in HELD_OUT) == q.unseen for q in asked)


def test_shares_carry_wilson_intervals():
    entry = share(np.asarray([True] * 48 + [False] * 2))
    assert entry.share == 0.96
    assert (entry.low, entry.high) == (pytest.approx(0.8654, abs=1e-4), pytest.approx(0.9890, abs=1e-4))


def test_the_kernel_distance_is_unbiased_and_grows_with_the_difference():
    rng = np.random.default_rng(0)
    one, same, other = (rng.normal(size=(200, 8)).astype(np.float32) + shift for shift in (0, 0, 1))
    near, low, high = kernel_distance(one, same)
    assert low < 0 < high
    assert abs(near) < 0.1
    assert kernel_distance(one, other)[1] > high


def test_blur_is_less_sharp():
    import cv2

    picture = draw(questions(1)[0].scene, 96)
    assert sharpness(cv2.GaussianBlur(picture, (0, 0), 1.5)) < 0.6 * sharpness(picture)


def test_an_examination_of_the_drawings_themselves_finds_no_difference(tiny, tmp_path):
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
    write_report(report, pictures, tmp_path)
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["overall"]["species"]["asked"] == 24
    assert (tmp_path / "quality.png").stat().st_size > 1000
