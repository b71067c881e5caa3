"""What is measured of clips: known answers on clips whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.curation.clips.measures import (
    asks_for_no_motion,
    loop_seam,
    motion,
    subject_consistency,
    temporal_flickering,
)
from bowerbird.training.clip_captions import MOTION_PHRASES, MOTION_WORDS, PLACELESS_PHRASES
from tests.unit.curation.clips.moving import Clip, crossing


def noisy(clip: Clip, levels: int) -> Clip:
    """Every frame brighter or darker than the one before: flicker."""
    changes = np.random.default_rng(1).integers(-levels, levels + 1, len(clip))
    return np.asarray(np.clip(clip.astype(np.int16) + changes[:, None, None, None], 0, 255), np.uint8)


def test_flickering_is_vbench_s_formula() -> None:
    clip = np.zeros((3, 4, 4, 3), np.uint8)
    clip[1] = 51
    assert temporal_flickering(clip) == pytest.approx(1 - 51 / 255)
    assert temporal_flickering(np.full((5, 4, 4, 3), 9, np.uint8)) == 1.0


def test_more_flicker_is_less_of_the_score() -> None:
    clip = crossing(speed=0)
    scores = [temporal_flickering(noisy(clip, levels)) for levels in (1, 4, 16)]
    assert scores == sorted(scores, reverse=True)


def test_steady_motion_is_smooth_and_a_stumbling_one_is_not() -> None:
    steady = crossing(frames=25, speed=2)
    stumbling = steady[[n - 2 if n % 4 == 1 and n > 2 else n for n in range(25)]]
    assert motion(steady, 24).smoothness > 0.985
    assert motion(stumbling, 24).smoothness < motion(steady, 24).smoothness - 0.0002
    assert motion(noisy(steady, 16), 24).smoothness < motion(steady, 24).smoothness - 0.01


@pytest.mark.parametrize("fps", [8.0, 24.0])
@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_the_dynamic_degree_is_the_speed_of_what_moves_fastest(speed: float, fps: float) -> None:
    clip = crossing(frames=17, side=128, speed=speed, grain=10)
    expected = speed * fps / 128
    assert motion(clip, fps).dynamic_degree == pytest.approx(expected, rel=0.35)


def test_a_still_clip_does_not_move() -> None:
    still = np.repeat(crossing(frames=2)[:1], 16, axis=0)
    assert motion(still, 24).dynamic_degree < 0.002
    assert motion(still[:2], 24).smoothness == 1.0


@pytest.mark.parametrize("motion_name", PLACELESS_PHRASES)
def test_only_captions_of_the_motion_that_is_none_ask_for_it(motion_name: str) -> None:
    phrases = [*PLACELESS_PHRASES[motion_name], *MOTION_WORDS.get(motion_name, ())]
    phrases += [phrase for (named, _), listed in MOTION_PHRASES.items() if named == motion_name for phrase in listed]
    assert {asks_for_no_motion(f"A Robin {phrase} in winter") for phrase in phrases} == {motion_name == "still"}


@pytest.mark.parametrize("prompt", ["A ROBIN STANDING STILL", "a robin, Not  moving", "still: winter, robin"])
def test_no_motion_is_asked_for_however_it_is_written(prompt: str) -> None:
    assert asks_for_no_motion(prompt)


@pytest.mark.parametrize("prompt", ["a robin moving about", "stillwater in autumn", "distillery", "", "not a robin"])
def test_other_words_ask_for_motion(prompt: str) -> None:
    assert not asks_for_no_motion(prompt)


def test_a_seam_is_seen_where_the_circle_does_not_close() -> None:
    there = crossing(frames=12, speed=3)
    and_back = np.concatenate([there, there[-2:0:-1]])
    assert loop_seam(and_back) == pytest.approx(1.0, abs=0.2)
    assert loop_seam(there) > 2
    assert loop_seam(np.repeat(there[:1], 4, axis=0)) == 0


def test_subject_consistency_is_vbench_s_formula() -> None:
    one, other = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    assert subject_consistency([one, one, one]) == 1.0
    # t = 1: (0 + 0) / 2; t = 2: (cos 0 to the one before, cos 1 to the first) / 2.
    assert subject_consistency([one, other, one]) == pytest.approx(0.25)
    assert subject_consistency([one, -one]) == 0.0
