"""The examination of clips: always the same questions; drawings pass it, what stands still or flickers fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bowerbird.training.clip_classifier import (
    CLIP_HEADS,
    ClipClassifier,
    ClipClassifierStage,
    as_frames,
    classified_clips,
)
from bowerbird.training.clip_pictures import ClipPictures, drawn_clips
from bowerbird.training.clip_quality import (
    ClipQuestion,
    ClipReport,
    change,
    clip_questions,
    clip_verdicts,
    examine_clips,
    print_clip_report,
    write_clip_report,
)
from bowerbird.training.clips import FRAMES, MOTIONS, draw_clip
from bowerbird.training.config import FledglingConfig
from bowerbird.training.scene import HELD_OUT
from bowerbird.training.served import kept_clips

SIDE = 32


@pytest.fixture(scope="module")
def asked() -> list[ClipQuestion]:
    return clip_questions(len(MOTIONS))


@pytest.fixture(scope="module")
def drawings(asked: list[ClipQuestion]) -> dict[int, NDArray[np.uint8]]:
    return {question.seed: draw_clip(question.clip, SIDE) for question in asked}


@pytest.fixture
def classifier(tiny: FledglingConfig) -> ClipClassifier:
    torch.manual_seed(0)
    fresh: ClipClassifier = ClipClassifier(tiny.clip_classifier).eval()
    return fresh


def examined(
    drawings: Mapping[int, NDArray[np.uint8]],
    classifier: ClipClassifier,
    asked: Sequence[ClipQuestion],
    alter: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda frames: frames,
) -> tuple[ClipReport, NDArray[np.uint8]]:
    return examine_clips(lambda _, seeds: (alter(drawings[seed]) for seed in seeds), classifier, SIDE, asked)


def test_the_questions_are_balanced_and_a_third_is_unseen() -> None:
    asked = clip_questions()
    assert asked == clip_questions()
    assert {motion: sum(q.clip.motion == motion for q in asked) for motion in MOTIONS} == dict.fromkeys(MOTIONS, 40)
    assert 60 <= sum(q.unseen for q in asked) <= 75
    assert all((q.clip.scene.combination in HELD_OUT) == q.unseen for q in asked)


def test_drawn_clips_move_and_do_not_flicker(
    drawings: dict[int, NDArray[np.uint8]], classifier: ClipClassifier, asked: list[ClipQuestion], tmp_path: Path
) -> None:
    report, clips = examined(drawings, classifier, asked)
    assert clips.shape == (len(asked), FRAMES, SIDE, SIDE, 3)
    assert report.flicker == pytest.approx(1.0)
    assert report.moves.share == 1.0
    assert report.overall["motion"].asked == sum(entry.asked for entry in report.by_motion.values())
    print_clip_report(report)
    write_clip_report(report, clips, tmp_path)
    facts = json.loads((tmp_path / "clips.json").read_text(encoding="utf-8"))
    assert set(facts["verdicts"]) == {"motion", "species", "moves", "flicker"}
    assert (tmp_path / "clips.png").stat().st_size > 1000


def test_sixteen_times_a_still_is_found_not_to_move(
    drawings: dict[int, NDArray[np.uint8]], classifier: ClipClassifier, asked: list[ClipQuestion]
) -> None:
    report, _ = examined(drawings, classifier, asked, lambda frames: np.repeat(frames[:1], FRAMES, axis=0))
    assert (report.moves.right, report.flicker) == (0, 0.0)
    assert not clip_verdicts(report)["moves"][2]


def test_brightness_that_jumps_from_frame_to_frame_is_found_to_flicker(
    drawings: dict[int, NDArray[np.uint8]], classifier: ClipClassifier, asked: list[ClipQuestion]
) -> None:
    gain = np.where(np.arange(FRAMES) % 2, 0.8, 1.0)[:, None, None, None]
    report, _ = examined(drawings, classifier, asked, lambda frames: (frames * gain).astype(np.uint8))
    assert not clip_verdicts(report)["flicker"][2]
    assert report.background[0] > report.background[1] + 5


def test_a_change_is_a_mean_over_all_pixels_and_over_the_stillest_half() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1, :2] = 8
    assert change(frames) == (4.0, 0.0)


def test_the_classifier_learns_saves_and_continues(tiny: FledglingConfig, tmp_path: Path) -> None:
    stage = ClipClassifierStage(tiny, tmp_path)
    model = stage.run()
    again = ClipClassifierStage(tiny, tmp_path)
    assert (stage.step, again.step) == (2, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.averaged().state_dict()[name]), name
    assert set(stage.examined()) == {*CLIP_HEADS}


def test_the_classifier_sees_what_changed_and_not_when_it_began(classifier: ClipClassifier) -> None:
    """A step to the next frame of a circle shows other frames, so what it says may move a little, but of a still no."""
    frames = as_frames(drawn_clip_of_noise()).repeat(1, FRAMES, 1, 1, 1)
    with torch.no_grad():
        before = classifier(frames)["motion"]
        moving = classifier(frames * torch.linspace(0.5, 1, FRAMES)[None, :, None, None, None])["motion"]
        assert torch.allclose(classifier(frames.roll(3, 1))["motion"], before)
    assert not torch.allclose(moving, before, atol=1e-3)


def drawn_clip_of_noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (1, 1, SIDE, SIDE, 3), np.uint8)


def test_what_is_said_of_clips_is_words(classifier: ClipClassifier, drawings: dict[int, NDArray[np.uint8]]) -> None:
    told = classified_clips(classifier, np.stack(list(drawings.values())))
    assert set(told) == set(CLIP_HEADS)
    assert set(told["motion"]) <= {*MOTIONS}


def test_clips_are_drawn_once_whoever_asks(tmp_path: Path) -> None:
    wanted = ClipPictures(3, 2, 16)
    first = drawn_clips(tmp_path, wanted, workers=1)
    stamp = next(tmp_path.iterdir()).stat().st_mtime_ns
    assert np.array_equal(first[1], draw_clip(wanted.clips()[1], 16))
    assert np.array_equal(drawn_clips(tmp_path, wanted, workers=1), first)
    assert next(tmp_path.iterdir()).stat().st_mtime_ns == stamp


def test_an_examination_that_was_interrupted_draws_nothing_twice(
    drawings: dict[int, NDArray[np.uint8]], tmp_path: Path
) -> None:
    asked_for: list[int] = []

    def draw(_: Sequence[str], seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        asked_for.extend(seeds)
        return (drawings[seed] for seed in seeds)

    seeds = list(drawings)
    first = next(iter(kept_clips(draw, tmp_path)(["a"] * len(seeds), seeds)))
    again = list(kept_clips(draw, tmp_path)(["a"] * len(seeds), seeds))
    assert asked_for == seeds
    np.testing.assert_array_equal(again[0], first)
    assert all(np.array_equal(clip, drawings[seed]) for clip, seed in zip(again, seeds, strict=True))
