"""Clips beside other work, on a made-up clock: a pass is a turn of its own, and nobody waits for a whole clip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.engine.scheduling.work import Claim, Shape, Stage

from .clock import CLIP, FOREVER, SMALL, Clock


@settings(max_examples=50, deadline=None)
@given(
    still=st.integers(2, 50),
    calls=st.integers(1, 5),
    passes=st.integers(1, 12),
    comes_after=st.integers(1, 40),
    same_flow=st.booleans(),
)
def test_a_still_beside_a_clip_waits_for_two_passes_at_most_and_has_half_of_the_model(
    still: int, calls: int, passes: int, comes_after: int, same_flow: bool
) -> None:
    """Two passes, not the clip's steps, which may be a dozen passes each."""
    clock = Clock(rows=2)
    clock.admit("clip", Shape(CLIP, 2, calls, passes=passes, decodes=40), Claim(FOREVER, flow="a"))
    for _ in range(comes_after):
        clock.turn()
    arrived = clock.now
    work = clock.admit("still", Shape(SMALL, 2, still), Claim(FOREVER, flow="a" if same_flow else "b"))
    alone, one_pass = clock.scheduler.remaining_seconds(work), clock.prices.seconds(Stage.STEP, CLIP, 2)
    clock.run(until=lambda: work.ended)
    assert clock.now - arrived <= 2 * alone + 2 * one_pass


def test_a_clip_steps_pass_by_pass_and_leaves_frame_by_frame() -> None:
    clock = Clock(rows=2)
    clip = clock.admit("clip", Shape(CLIP, 2, 2, passes=3, decodes=4, preview_steps=1), Claim(FOREVER, flow="a"))
    stages = []
    while not clip.ended:
        batch = clock.turn()
        assert batch is not None
        stages.append(batch.stage)
    step, preview, decode = Stage.STEP, Stage.PREVIEW, Stage.DECODE
    assert stages == [Stage.ENCODE, *[step] * 3, preview, *[step] * 3, *[decode] * 4]


def test_a_clips_deadline_counts_every_pass_and_frame_that_is_left() -> None:
    clock = Clock(rows=2)
    clip = clock.admit("clip", Shape(CLIP, 2, 2, passes=3, decodes=4), Claim(deadline=FOREVER))
    for done in range(11):
        seconds = clock.scheduler.remaining_seconds(clip)
        assert seconds == pytest.approx(0.1 * (done < 1) + 32 * min(6, 7 - done) * (done < 7) + min(4, 11 - done))
        clock.turn()
    assert clip.ended
