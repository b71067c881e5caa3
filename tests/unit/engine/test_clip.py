"""What a clip is made of: windows that cover it evenly, noise that holds it together, frames between frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from bowerbird.engine.bundle import MotionFacts
from bowerbird.engine.model.clip import ClipForm
from bowerbird.engine.model.noise import noise

SHAPE = (2, 3, 3)


def motion(window: int = 4, overlap: int = 2, shared_noise: float = 0.0) -> MotionFacts:
    return MotionFacts(window=window, overlap=overlap, max_frames=120, frames_per_second=8, shared_noise=shared_noise)


MOTIONS = st.integers(2, 16).flatmap(lambda window: st.builds(motion, st.just(window), st.integers(1, window - 1)))
FORMS = st.builds(
    lambda motion, drawn, loop: ClipForm(motion, drawn, drawn, loop), MOTIONS, st.integers(2, 60), st.booleans()
)


@given(FORMS)
def test_windows_overlap_as_stated_and_every_frame_counts_once(form: ClipForm) -> None:
    total = np.zeros(form.held)
    for window in form.windows:
        assert len(window.frames) == form.motion.window
        np.add.at(total, window.frames, window.weights[:, 0, 0, 0])
    np.testing.assert_allclose(total, 1, atol=1e-6)
    circle = [*form.windows, form.windows[0]] if form.loop else form.windows
    for one, other in itertools.pairwise(circle):
        shared = min(form.motion.overlap, form.held)
        assert len(set(one.frames) & set(other.frames)) >= shared


@given(MOTIONS, st.integers(2, 60))
def test_there_are_no_more_windows_than_are_needed(motion: MotionFacts, drawn: int) -> None:
    windows = len(ClipForm(motion, drawn, drawn).windows)
    stride = motion.window - motion.overlap
    assert motion.window + (windows - 1) * stride >= drawn
    assert windows == 1 or motion.window + (windows - 2) * stride < drawn


def test_the_windows_of_a_loop_go_round() -> None:
    frames = [window.frames.tolist() for window in ClipForm(motion(), 6, 6, loop=True).windows]
    assert frames == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]]
    of_one_window = [window.frames.tolist() for window in ClipForm(motion(), 4, 4, loop=True).windows]
    assert of_one_window == [[0, 1, 2, 3], [2, 3, 0, 1]]


@given(FORMS)
def test_in_a_model_of_circles_every_frame_stands_where_it_stands_in_every_other_window(form: ClipForm) -> None:
    size = form.motion.window
    circles = ClipForm(form.motion.model_copy(update={"circle": True}), form.frames, form.drawn, form.loop)
    assume(not form.loop or form.drawn % size == 0)
    for turned, straight in zip(circles.windows, form.windows, strict=True):
        assert [frame % size for frame in turned.frames] == list(range(size))
        weights = dict(zip(straight.frames.tolist(), straight.weights.ravel().tolist(), strict=True))
        assert dict(zip(turned.frames.tolist(), turned.weights.ravel().tolist(), strict=True)) == weights


@given(FORMS, st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_a_clip_begins_with_the_noise_of_one_window_and_goes_on_with_it_in_another_order(
    form: ClipForm, seed: int, call: int
) -> None:
    drawn = form.noise(seed, call, SHAPE)
    assert drawn.shape == (form.held, *SHAPE)
    own = noise(seed, call, (min(form.motion.window, form.held), *SHAPE))
    assert np.array_equal(drawn[: len(own)], own)
    assert {frame.tobytes() for frame in drawn} == {frame.tobytes() for frame in own}
    stride = form.motion.window - form.motion.overlap
    for start in range(0, form.held - form.motion.window + 1, stride):
        window = drawn[start : start + form.motion.window]
        assert len({frame.tobytes() for frame in window}) == form.motion.window


def test_the_common_part_of_noise_is_as_large_as_stated_and_leaves_it_standard_normal() -> None:
    form = ClipForm(motion(window=16, shared_noise=0.6), 16, 16)
    frames = form.noise(7, 0, (12, 32, 32)).reshape(16, -1)
    assert np.allclose(frames.std(axis=1), 1, atol=0.05)
    correlations = np.asarray(np.corrcoef(frames))[~np.eye(16, dtype=bool)]
    assert np.allclose(correlations, 0.6, atol=0.05)


@given(st.integers(2, 40), st.integers(1, 40), st.booleans())
def test_frames_between_lie_between_and_those_that_were_drawn_are_among_them(drawn: int, more: int, loop: bool) -> None:
    form = ClipForm(motion(), drawn + more, drawn, loop)
    latents = np.arange(form.held, dtype=np.float32)[:, None]
    last = drawn if loop else drawn - 1
    steps = form.frames if loop else form.frames - 1
    for index in range(form.frames):
        at = index * last / steps
        expected = at if at <= drawn - 1 else (drawn - 1) * (drawn - at)  # back to frame 0, where the circle closes
        assert form.frame(latents, index)[0] == pytest.approx(expected, abs=1e-4)


@given(st.integers(2, 40), st.integers(1, 40), st.booleans())
def test_of_more_frames_than_leave_the_nearest_in_time_are_taken_each_once(frames: int, more: int, loop: bool) -> None:
    form = ClipForm(motion(), frames, frames + more, loop)
    latents = np.arange(form.held, dtype=np.float32)[:, None]
    taken = [int(form.frame(latents, index)[0]) for index in range(frames)]
    span, steps = (form.drawn, frames) if loop else (form.drawn - 1, frames - 1)
    assert all(abs(at - index * span / steps) <= 0.5 for index, at in enumerate(taken))
    assert taken == sorted(set(taken))
    assert (taken[0], taken[-1] < form.drawn, loop or taken[-1] == form.drawn - 1) == (0, True, True)


def test_a_clip_of_as_many_frames_as_were_drawn_is_those_bit_by_bit() -> None:
    form = ClipForm(motion(), 5, 5)
    latents = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    assert all(np.array_equal(form.frame(latents, index), latents[index]) for index in range(5))


@pytest.mark.parametrize("wrong", [{"overlap": 4}, {"overlap": 0}, {"window": 1}, {"max_frames": 3}])
def test_facts_of_windows_that_could_not_go_on_are_refused(wrong: dict[str, int]) -> None:
    usual = {"window": 4, "overlap": 2, "max_frames": 12, "frames_per_second": 8}
    with pytest.raises(ValidationError):
        MotionFacts.model_validate(usual | wrong)
