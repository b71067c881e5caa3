"""What a person sees when a clip is drawn: the same bird does what the motion's name says, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bowerbird.training.clips import FRAMES, POSES_OF, Clip, clip_at, draw_clip, wing_at
from bowerbird.training.drawing import draw
from bowerbird.training.scene import HELD_OUT, SPECIES, Scene, UnknownSubject
from bowerbird.training.species import BY_NAME

SIZE = 64


def clip_of(motion: str, species: str = "american robin", season: str = "summer", pose: str | None = None) -> Clip:
    return Clip(Scene(species, pose or POSES_OF[motion][0], season), motion)


def moved(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far pixels are from their mean over the frames: [height, width]."""
    return np.asarray(np.abs(frames - frames.mean(0)).mean((0, 3)))


clips = st.builds(clip_at, st.just(11), st.integers(0, 10_000))


@given(clips)
@settings(max_examples=40, deadline=None)
def test_the_bird_of_a_clip_is_one_bird(clip: Clip) -> None:
    scenes = [clip.frame(index)[0] for index in range(FRAMES)]
    unmoved = {replace(scene, wing=0.0, nod=0.0, turn=0.0) for scene in scenes}
    assert len(unmoved) == 1
    assert clip.scene.combination not in HELD_OUT


@given(clips)
@settings(max_examples=40, deadline=None)
def test_every_motion_closes_its_circle(clip: Clip) -> None:
    one, other = clip.frame(0), clip.frame(FRAMES)
    for name in ("wing", "turn", "nod"):
        assert getattr(one[0], name) == pytest.approx(getattr(other[0], name))
    for name in ("move", "fall", "sway", "flight", "size", "crouch", "lean", "blink"):
        assert getattr(one[1], name) == pytest.approx(getattr(other[1], name), abs=1e-9)


@given(clips)
@settings(max_examples=40, deadline=None)
def test_nothing_jumps_where_a_circle_closes(clip: Clip) -> None:
    wings = [clip.frame(index)[0].wing for index in range(2 * FRAMES)]
    places = np.asarray([clip.frame(index)[1].move for index in range(2 * FRAMES)])
    ways = np.abs(np.diff(places, axis=0)).max(1)
    assert ways[FRAMES - 1] <= ways[: FRAMES - 1].max() + 1e-9
    folded = clip.motion == "taking off"  # wings that are folded are nowhere
    assert folded or abs(wings[FRAMES] - wings[FRAMES - 1]) <= np.abs(np.diff(wings[:FRAMES])).max() + 1e-9


def test_the_same_clip_is_the_same_pixels() -> None:
    assert clip_at(3, 5) == clip_at(3, 5)
    assert clip_at(3, 5) != clip_at(3, 6)
    assert np.array_equal(draw_clip(clip_at(3, 5), 48, 2), draw_clip(clip_at(3, 5), 48, 2))


def test_a_bird_at_rest_is_the_still_picture() -> None:
    scene = Scene("blue jay", "perched", "summer")
    clip = Clip(scene, "still", sway=0.0)
    assert np.array_equal(draw_clip(clip, SIZE, 1)[0], draw(scene, SIZE))


def test_a_still_bird_on_the_ground_is_still() -> None:
    frames = draw_clip(clip_of("still", pose="standing"), SIZE)
    assert (frames == frames[0]).all()


def test_only_the_branch_and_what_sits_on_it_sway() -> None:
    change = moved(draw_clip(clip_of("still"), SIZE).astype(float))
    assert change[: SIZE // 8].max() == change[-SIZE // 8 :].max() == 0
    assert 0.2 < change[SIZE // 2 : 3 * SIZE // 4].mean() < 10


@pytest.mark.parametrize("motion", ["flapping", "turning its head", "hopping", "taking off"])
@pytest.mark.parametrize("species", ["american goldfinch", "snowy owl", "flamingo"])
def test_a_motion_is_seen(motion: str, species: str) -> None:
    pose = "standing" if "standing" in POSES_OF[motion] else POSES_OF[motion][0]
    change = moved(draw_clip(clip_of(motion, species, pose=pose), SIZE).astype(float))
    assert change.max() > 30
    assert (change > 10).mean() > 0.004


@pytest.mark.parametrize("species", SPECIES)
def test_a_bird_keeps_its_colour_while_it_beats_its_wings(species: str) -> None:
    frames = draw_clip(clip_of("flapping", species, "spring"), 96)[::2].astype(float)
    near = (np.abs(frames - np.asarray(BY_NAME[species].colour)).max(-1) < 45).mean((1, 2))
    assert near.min() > 0.3 * near.max() > 0


def test_a_bird_that_takes_off_leaves_its_branch_and_settles_again_and_the_branch_stays() -> None:
    frames = draw_clip(clip_of("taking off"), 96, FRAMES + 1).astype(float)
    branch = frames[:, 64:68, 10:86]
    body = frames[:, 40:60, 20:45]
    away = FRAMES * 5 // 8
    assert np.abs(body[0] - body[away]).mean() > 20
    assert np.abs(branch[0, :, :6] - branch[away, :, :6]).mean() < 12
    assert np.array_equal(frames[0], frames[FRAMES])


def test_a_hopping_bird_comes_back_to_where_it_was() -> None:
    frames = draw_clip(clip_of("hopping"), SIZE)
    assert np.array_equal(frames[0], frames[FRAMES // 2])
    assert not np.array_equal(frames[0], frames[FRAMES // 4])


@pytest.mark.parametrize(("season", "falls"), [("winter", True), ("autumn", True), ("summer", False)])
def test_snow_and_leaves_fall_beside_the_bird(season: str, falls: bool) -> None:
    frames = draw_clip(clip_of("still", season=season, pose="standing"), 128).astype(float)
    lane = frames[:, :76, :12].mean((2, 3))
    lane = lane - np.median(lane, 0)
    assert (np.abs(lane).max() > 1) == falls
    middle = frames[:, :38, 45:83]
    assert np.abs(middle - middle[0]).max() == 0
    if falls:
        together = {
            down: sum(float((a[8:-8] * np.roll(b, -down)[8:-8]).sum()) for a, b in pairwise(lane))
            for down in range(-8, 9)
        }
        assert max(together, key=together.__getitem__) in {3, 4, 5, 6}


def test_wings_beat_between_above_and_below() -> None:
    heights = [wing_at(turn) for turn in np.linspace(0, 1, 17)]
    assert heights[0] == max(heights) == pytest.approx(1.0)
    assert min(heights) == pytest.approx(-0.6)
    assert heights[0] == pytest.approx(heights[-1])
    assert sum(height > 0 for height in heights) > len(heights) / 2


def test_motions_are_asked_for_by_known_names() -> None:
    with pytest.raises(UnknownSubject):
        Clip(Scene("american robin", "perched", "summer"), "flapping")
