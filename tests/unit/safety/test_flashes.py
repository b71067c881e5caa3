"""Light that flashes: what WCAG 2.3.1 forbids is seen at every rate and depth, and what moves is not taken for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bowerbird.safety.flashes import LINEAR, PLACES, FlashMeter, light_of

Clip = NDArray[np.uint8]

SIDE = 64
RATES = st.sampled_from([12, 16, 20, 24])


def grey(luminance: float) -> int:
    """The 8-bit value whose relative luminance is nearest."""
    return int(np.abs(LINEAR - luminance).argmin())


@dataclass(frozen=True)
class Wave:
    """A square wave between two relative luminances, over the left part of a picture that is else half grey."""

    fps: int
    flashes: float
    dark: float
    light: float
    share: float = 1.0
    phase: float = 0.0

    def clip(self, seconds: float = 2.0) -> Clip:
        frames = np.full((round(seconds * self.fps), SIDE, SIDE, 3), grey(0.4), np.uint8)
        on = (np.arange(len(frames)) * self.flashes / self.fps + self.phase) % 1 < 0.5
        shown = np.where(on, grey(self.light), grey(self.dark))[:, None, None, None]
        frames[:, :, : round(self.share * SIDE)] = shown
        return frames


def followed(clip: Clip, fps: float) -> FlashMeter:
    meter = FlashMeter(fps)
    for frame in clip:
        meter.follow(light_of(frame))
    return meter


def share_that_flashes(clip: Clip, fps: float) -> float:
    return followed(clip, fps).flashing_share


@given(
    dark=st.floats(0, 0.6),
    depth=st.floats(0.12, 0.4),
    wave=st.builds(
        Wave,
        fps=RATES,
        flashes=st.floats(4, 6),
        dark=st.just(0.0),
        light=st.just(0.0),
        share=st.floats(0.05, 1),
        phase=st.floats(0, 1),
    ),
)
@settings(max_examples=20, deadline=None)
def test_four_flashes_a_second_are_seen_wherever_they_are(dark: float, depth: float, wave: Wave) -> None:
    clip = replace(wave, dark=dark, light=dark + depth).clip()
    assert abs(share_that_flashes(clip, wave.fps) - wave.share) <= 1 / 16


@given(
    st.builds(
        Wave,
        fps=RATES,
        flashes=st.floats(0, 2.9),
        dark=st.floats(0, 0.5),
        light=st.floats(0.5, 1),
        phase=st.floats(0, 1),
    )
)
@settings(max_examples=20, deadline=None)
def test_fewer_than_three_a_second_are_allowed_however_bright(wave: Wave) -> None:
    assert share_that_flashes(wave.clip(), wave.fps) == 0


@given(RATES, st.floats(4, 12), st.floats(0, 0.9), st.floats(0, 0.08))
@settings(max_examples=20, deadline=None)
def test_a_tenth_of_the_luminance_is_what_a_flash_has_at_least(
    fps: int, flashes: float, dark: float, depth: float
) -> None:
    assert share_that_flashes(Wave(fps, flashes, dark, dark + depth).clip(), fps) == 0


def test_flashes_between_two_bright_greys_do_not_count() -> None:
    assert share_that_flashes(Wave(24, 6, 0.82, 1.0).clip(), 24) == 0
    assert share_that_flashes(Wave(24, 6, 0.75, 1.0).clip(), 24) == 1


def test_saturated_red_counts_where_its_luminance_would_not() -> None:
    clip = np.zeros((48, SIDE, SIDE, 3), np.uint8)
    clip[::4] = clip[1::4] = (grey(0.3), 0, 0)
    assert share_that_flashes(clip, 24) == 1
    blue = clip[..., ::-1].copy()
    assert share_that_flashes(blue, 24) == 0


@given(fps=RATES, frames_up=st.integers(2, 3))
@settings(max_examples=8, deadline=None)
def test_a_pulse_that_rises_over_frames_is_a_flash(fps: int, frames_up: int) -> None:
    ramp = np.concatenate([np.linspace(0, 1, frames_up, endpoint=False), np.linspace(1, 0, frames_up, endpoint=False)])
    values = np.array([grey(0.4 * each) for each in np.resize(ramp, 2 * fps)], np.uint8)
    clip = np.broadcast_to(values[:, None, None, None], (len(values), SIDE, SIDE, 3))
    flashes = fps / (2 * frames_up)
    share = share_that_flashes(np.ascontiguousarray(clip), fps)
    assert share == 1.0 if flashes >= 4 else share in ({0.0} if flashes <= 3 else {0.0, 1.0})


@given(first=st.floats(0.3, 0.48), dark_first=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_strobe_is_one_whatever_is_between_its_ends_when_the_clip_begins(first: float, *, dark_first: bool) -> None:
    clip = Wave(24, 6, 0.3, 0.48, phase=0.5 * dark_first).clip()
    clip[0] = grey(first)
    assert share_that_flashes(clip, 24) == 1


def test_three_seconds_of_calm_do_not_excuse_one_second_of_flashes() -> None:
    calm = Wave(24, 0, 0.2, 0.2).clip(3)
    storm = Wave(24, 5, 0.1, 0.6).clip(1.1)
    assert share_that_flashes(np.concatenate([calm, storm, calm]), 24) == 1


@given(st.lists(st.booleans(), min_size=2, max_size=60), RATES)
@settings(max_examples=30, deadline=None)
def test_a_clip_that_repeats_flashes_as_much_as_one_that_shows_it_again_and_again(on: list[bool], fps: int) -> None:
    pictures = np.where(on, grey(0.4), grey(0.05)).astype(np.uint8)[:, None, None, None]
    clip = np.broadcast_to(pictures, (len(on), PLACES, PLACES, 3))
    again_and_again = np.concatenate([clip] * (2 + fps // len(clip)))
    meter = followed(clip, fps)
    meter.begin_again()
    assert meter.flashing_share == share_that_flashes(again_and_again, fps)


def test_what_moves_fades_or_snows_does_not_flash() -> None:
    rng = np.random.default_rng(3)
    clip = np.full((96, SIDE, SIDE, 3), 90, np.uint8)
    for number, frame in enumerate(clip):
        left = (3 * number) % SIDE
        frame[20:30, left : left + 10] = 255  # a white bird, from side to side
        snow = rng.integers(0, SIDE, (40, 2))
        frame[snow[:, 0], snow[:, 1]] = 255
    assert share_that_flashes(clip, 24) < 0.1
    fade = np.repeat(np.linspace(0, 255, 96).astype(np.uint8), SIDE * SIDE * 3).reshape(96, SIDE, SIDE, 3)
    assert share_that_flashes(fade, 24) == 0


def test_grain_finer_than_a_place_is_no_flash() -> None:
    noise = np.random.default_rng(4).integers(0, 256, (48, 256, 256, 3), np.uint8)
    assert share_that_flashes(noise, 24) == 0
