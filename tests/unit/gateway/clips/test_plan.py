"""What will be drawn of a clip: windows as the engine lays them, prices, frames between frames, and progress."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.contracts import ClipFormat, ModelCosts, MotionDescription, Size, SizeCosts, WorkClass
from bowerbird.engine.bundle import MotionFacts
from bowerbird.engine.model.clip import ClipForm
from bowerbird.errors import BowerbirdError, RangeUnsatisfiable, RequestInvalid, TierExceeded
from bowerbird.gateway.api.byte_range import range_of
from bowerbird.gateway.api.job_drawing import computing_seconds
from bowerbird.gateway.clips.plan import Bounds, ClipPlan, compute_units, plan_clip, refuse_beyond
from bowerbird.gateway.clips.progress import Hearing, per_cent
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.records.job import Claim

from ..stand_ins import MODEL

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # a gateway's thread may

NO_BOUNDS = Bounds(1 << 30)
"""But the model's own."""
COSTS = ModelCosts(
    unit_seconds=0.1, guided_rows=2, sizes=[SizeCosts(size=Size(width=32, height=32), encode=0.5, step=2, decode=0.25)]
)


def moving(window: int = 16, overlap: int = 4, max_frames: int = 120) -> MotionDescription:
    facts = {"window": window, "overlap": overlap, "max_frames": max_frames, "frames_per_second": 8, "costs": COSTS}
    return MotionDescription(**{**MODEL.model_dump(), **facts})


def planned(frames: int = 24, fps: float = 8, model: MotionDescription | None = None, **fields: object) -> ClipPlan:
    asked = {"prompt": "a robin", "frames": frames, "frames_per_second": fps, "format": ClipFormat.GIF, **fields}
    return plan_clip(ClipRequest.model_validate(asked), model or moving())


def refused(bounds: Bounds, plan: ClipPlan) -> BowerbirdError | None:
    try:
        refuse_beyond(bounds, plan, "frame_count")
    except BowerbirdError as error:
        return error
    return None


@settings(deadline=None)
@given(st.data())
def test_a_step_has_as_many_passes_as_the_engine_makes(data: st.DataObject) -> None:
    window = data.draw(st.integers(2, 24))
    overlap = data.draw(st.integers(1, window - 1))
    frames = data.draw(st.integers(2, 120))
    loop = data.draw(st.booleans())
    plan = planned(frames, model=moving(window, overlap), loop=loop)
    facts = MotionFacts(window=window, overlap=overlap, max_frames=120, frames_per_second=8)
    assert plan.passes == len(ClipForm(facts, plan.frames, plan.drawn_frames, loop).windows)


@pytest.mark.parametrize(("frames", "drawn"), [(8, 16), (16, 16), (23, 16), (25, 32), (40, 32), (120, 112)])
def test_a_loop_of_a_model_that_draws_circles_is_whole_ones(frames: int, drawn: int) -> None:
    model = moving(16, 4).model_copy(update={"circle": True})
    assert planned(frames, model=model, loop=True).drawn_frames == drawn
    assert planned(frames, model=model).drawn_frames == planned(frames, loop=True).drawn_frames == frames


@pytest.mark.parametrize("clip_format", ClipFormat)
def test_a_file_repeats_where_its_format_says_so_or_it_is_a_loop(clip_format: ClipFormat) -> None:
    assert planned(format=clip_format).repeats == (clip_format is not ClipFormat.MP4)
    assert planned(format=clip_format, loop=True).repeats


def test_a_clip_costs_its_prompt_its_windows_and_its_frames() -> None:
    plan = planned(24, steps=10, candidates=2)
    assert (plan.passes, plan.drawn_frames) == (2, 24)
    assert compute_units(plan) == 0.5 + 2 * 10 * 2 * 2 * 2 + 2 * 24 * 0.25
    assert compute_units(planned(24, steps=10, guidance_scale=1)) == 0.5 + 10 * 2 * 2 + 24 * 0.25


@pytest.mark.parametrize(
    ("cost", "own_failures", "costs", "seconds"),
    [(9000.0, 0, None, 120), (100.0, 0, COSTS, 120), (9000.0, 0, COSTS, 3600), (9000.0, 2, COSTS, 14_400)],
)
def test_a_clip_may_take_four_times_what_was_predicted(
    cost: float, own_failures: int, costs: ModelCosts | None, seconds: float
) -> None:
    claim = Claim("video_1", "birds", 1, WorkClass.INTERACTIVE, "{}", cost, None, 86_400.0, 1, own_failures)
    assert computing_seconds(claim, 120, costs) == pytest.approx(seconds)


@pytest.mark.parametrize(("fps", "drawn"), [(24, 16), (12, 32), (8, 48), (5, 77)])
def test_as_many_frames_are_drawn_as_the_clip_has_at_the_models_rate(fps: float, drawn: int) -> None:
    plan = planned(48, fps)
    assert (plan.frames, plan.drawn_frames) == (48, drawn)
    request = plan.animate_request("a robin", None)
    assert (request.frames, request.drawn) == (48, None if drawn == 48 else drawn)


def test_a_stored_request_is_the_same_plan_again() -> None:
    asked = ClipRequest(prompt="a robin", frames=24, frames_per_second=12, format=ClipFormat.MP4, candidates=3)
    plan = plan_clip(asked, moving())
    kept = ClipRequest.model_validate_json(plan.settled(asked, "a robin", None).model_dump_json())
    assert plan_clip(kept, moving()) == plan


@pytest.mark.parametrize(
    ("fps", "max_frames", "field", "says"),
    [
        (24, 12, "seconds", "Accepted: fewer frames a second or candidates, or a smaller size"),
        (6, 16, "seconds", "up to 2 s"),
        (24, 12, "frame_count", "up to 37 frames"),
        (8, 12, "frame_count", "up to 12 frames"),
        (2, 12, "frame_count", "up to 3 frames"),
        (1, 12, "frame_count", "Accepted: fewer frames a second"),
    ],
)
def test_too_long_a_clip_is_refused_in_the_callers_own_words(
    fps: float, max_frames: int, field: str, says: str
) -> None:
    with pytest.raises(RequestInvalid, match=says) as error:
        refuse_beyond(NO_BOUNDS, planned(72, fps, moving(max_frames=max_frames)), field)
    assert error.value.param == field


@settings(deadline=None)
@given(st.data())
def test_the_longest_that_a_refusal_names_is_accepted_and_the_next_is_not(data: st.DataObject) -> None:
    model = moving(window=data.draw(st.integers(2, 16)), overlap=1, max_frames=data.draw(st.integers(2, 120)))
    model = model.model_copy(update={"circle": data.draw(st.booleans())})
    frames, fps = data.draw(st.integers(2, 120)), data.draw(st.integers(1, 24))
    most_frames, units = data.draw(st.integers(1, 130)), data.draw(st.none() | st.floats(1, 3000))
    plan = planned(frames, fps, model, steps=10, loop=data.draw(st.booleans()))
    bounds = Bounds(most_frames * plan.size.width * plan.size.height, units)
    error = refused(bounds, plan)
    too_long = plan.drawn_frames > model.max_frames or frames > most_frames
    too_costly = units is not None and compute_units(plan) > units
    assert type(error) is (RequestInvalid if too_long else TierExceeded if too_costly else type(None))
    if error is not None:
        accepted = re.search(r"Accepted: up to (\d+) frames at", error.message)
        longest = int(accepted[1]) if accepted else 1
        assert longest < frames
        assert longest == 1 or refused(bounds, plan.of_length(longest)) is None
        assert refused(bounds, plan.of_length(longest + 1)) is not None
        assert accepted or "Accepted: fewer" in error.message


def test_progress_is_told_by_tens_and_never_goes_back() -> None:
    told: list[str] = []
    hearing = Hearing(planned(10, candidates=2, steps=20), told.append)
    for clip in range(2):
        for step in range(1, 21):
            hearing.stepped(step, 20, 10 * clip)
        for frame in range(1, 11):
            hearing.decoded(10 * clip + frame)
    assert told == [f"animate.{tens}" for tens in range(10, 100, 10)]
    assert [per_cent(phase) for phase in ("waiting", "animate", *told[:2], "publish")] == [0, 0, 10, 20, 90]


@settings(deadline=None)
@given(st.integers(0, 99), st.one_of(st.none(), st.integers(0, 150)), st.integers(1, 100))
def test_a_range_is_the_bytes_that_it_names(first: int, last: int | None, length: int) -> None:
    file = bytes(length)
    stated = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert range_of(stated, length) is None
    elif first >= length:
        with pytest.raises(RangeUnsatisfiable):
            range_of(stated, length)
    else:
        part = range_of(stated, length)
        assert part is not None
        assert len(file[part.first : part.last + 1]) == min(length, (length if last is None else last + 1)) - first
        assert part.content_range == f"bytes {first}-{part.last}/{length}"


@pytest.mark.parametrize("stated", [None, "", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,4-5", "bytes=5-2"])
def test_what_is_no_single_range_is_passed_over(stated: str | None) -> None:
    assert range_of(stated, 10) is None


def test_a_suffix_longer_than_the_file_is_all_of_it() -> None:
    part = range_of("bytes=-99", 10)
    assert part is not None
    assert (part.first, part.last) == (0, 9)
