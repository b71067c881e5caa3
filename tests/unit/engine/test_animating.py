"""Clips drawn by the engine: what they are, beside whom, how they begin, and what ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.contracts import AnimateRequest, DrawRequest, Size
from bowerbird.engine.backend import Floats, OutOfMemory
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import MOTION, Bundle
from bowerbird.engine.core import EngineCore
from bowerbird.engine.drawing import Engine, Event, Frame, PreviewFrame, Step, Summary
from bowerbird.engine.executor import Executor
from bowerbird.engine.model.clip import ClipGroup
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Bucket, Claim, Stage, Work
from bowerbird.errors import BundleInvalid, DeadlineExceeded, DrawingFailed, FieldUnknown, RequestInvalid
from bowerbird.frames import Frames

from .gated_backend import GatedBackend
from .tiny_bundle import MAX_FRAMES, WINDOW, Tiny, write_tiny_bundle

MakeClip = Callable[..., AnimateRequest]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Draws stills and clips, and begins them with pictures."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "both", Tiny(motion=True, encoder=True))


@pytest.fixture(scope="module")
def clips_only(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """As an AnimateDiff checkpoint is compiled: no still denoiser."""
    tiny = Tiny(motion=True, stills=False, shared_noise=0.5)
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "clips", tiny)


@pytest.fixture(scope="module")
def mixed(both: Bundle) -> Engine:
    """The CPU's own way: rows side by side."""
    return Engine(both, CpuBackend(threads=2))


def clip_of(**different: object) -> AnimateRequest:
    usual = {
        "prompt": "a small red bird",
        "size": Size(width=16, height=16),
        "steps": 3,
        "guidance_scale": 2.0,
        "seed": 7,
        "frames": 6,
    }
    return AnimateRequest.model_validate(usual | different)


def animated(engine: Engine, *pictures: Frames, **different: object) -> list[Event]:
    return list(engine.draw(engine.animate(clip_of(**different), pictures)))


def pixels(events: Sequence[Event]) -> list[Frames]:
    return [event.pixels for event in events if isinstance(event, Frame)]


def test_a_clip_is_one_group_that_leaves_frame_by_frame(mixed: Engine) -> None:
    events = animated(mixed, count=2, frames=7, drawn=6)
    kinds = [Step] * 3 + [Frame] * 7
    assert [type(event) for event in events] == [*kinds, *kinds, Summary]
    frames = [event for event in events if isinstance(event, Frame)]
    assert [(frame.index, frame.seed) for frame in frames] == [(k, 7 + k // 7) for k in range(14)]
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 1, 2, 3]
    assert isinstance(events[-1], Summary)
    assert events[-1].steps_computed == 2 * 3 * 6


def test_a_step_blends_what_the_graph_answers_to_each_window(both: Bundle, mixed: Engine) -> None:
    """Computed again here, window by window, with plain sums."""
    order = mixed.animate(clip_of(steps=1, frames=7))
    assert order.clip is not None
    [group] = mixed.groups(Drawing(order))
    assert isinstance(group, ClipGroup)
    assert group.negative is not None
    before, table = group.state.copy(), group.table
    graph = CpuBackend(threads=1).load(both.path(f"{MOTION}.onnx"))
    blended = np.zeros_like(before[0])
    for window in order.clip.windows:
        read = table.denoiser_input(0, before)[window.frames]
        answers = [
            graph.run({"sample": read[None], "timestep": table.timesteps[:1], "states": told["states"][None]})
            for told in (group.negative, group.positive)
        ]
        negative, positive = (answer["output"][0] for answer in answers)
        for place, frame in enumerate(window.frames):
            guided = negative[place] + np.float32(2) * (positive[place] - negative[place])
            blended[frame] += window.weights[place, 0, 0, 0] * guided
    expected = table.advance(0, before, blended, None)
    for _ in order.clip.windows:
        assert not group.finished
        mixed.denoiser.step([group])
    assert group.finished
    np.testing.assert_allclose(group.state, expected, atol=1e-5)
    assert len(order.clip.windows) == 3


def test_in_noisy_steps_frames_keep_one_mean_and_in_the_others_their_own(mixed: Engine) -> None:
    def apart(states: Floats) -> Floats:
        means = states.mean((-2, -1), keepdims=True)
        return np.asarray(means - means.mean(1, keepdims=True))

    order = mixed.animate(clip_of(frames=4))
    assert order.clip is not None
    [plain] = mixed.groups(Drawing(order))
    facts = order.clip.motion.model_copy(update={"common_mean_from": float(plain.table.timesteps[1])})
    [group] = mixed.groups(Drawing(replace(order, clip=replace(order.clip, motion=facts))))
    for call, agreed in enumerate((True, True, False)):
        before, table = apart(group.state), group.table
        fresh = apart(group.noise(call + 1)[None])[0] if table.adds_noise(call) else None
        mixed.denoiser.step([group])
        kept = table.advance(call, before, np.zeros_like(before[0]), fresh)
        assert np.allclose(apart(group.state), kept, atol=1e-5) == agreed
        if call == 0:
            mixed.denoiser.step([plain])
            rest = plain.state - apart(plain.state)
            np.testing.assert_allclose(group.state - apart(group.state), rest, atol=1e-5)


def test_frames_depend_on_each_other_and_a_loop_is_another_clip(mixed: Engine) -> None:
    open_clip, loop = pixels(animated(mixed)), pixels(animated(mixed, loop=True))
    assert len(open_clip) == len(loop) == 6
    assert not np.array_equal(open_clip[0], loop[0])
    assert len({frame.tobytes() for frame in open_clip}) == 6


def test_fewer_frames_than_a_window_are_the_first_of_a_whole_one(mixed: Engine) -> None:
    few, whole = pixels(animated(mixed, frames=2)), pixels(animated(mixed, frames=WINDOW))
    assert [np.array_equal(one, other) for one, other in zip(few, whole, strict=False)] == [True, True]


def test_interpolated_frames_lie_between_those_that_were_drawn(mixed: Engine) -> None:
    drawn, smooth = pixels(animated(mixed, frames=4)), pixels(animated(mixed, frames=7, drawn=4))
    for index, frame in enumerate(drawn):
        assert np.array_equal(smooth[2 * index], frame)


def test_of_a_clip_slower_than_it_is_drawn_every_so_manieth_frame_leaves(mixed: Engine) -> None:
    drawn, slow = pixels(animated(mixed, frames=7)), pixels(animated(mixed, frames=4, drawn=7))
    assert len(slow) == 4
    assert all(np.array_equal(slow[index], drawn[2 * index]) for index in range(4))


def test_a_preview_shows_the_middle_frame(mixed: Engine) -> None:
    events = animated(mixed, preview_steps=1)
    previews = [(event.index, event.step) for event in events if isinstance(event, PreviewFrame)]
    assert previews == [(0, 1), (0, 2)]


def test_a_clip_that_begins_with_a_picture_keeps_it_as_its_first_frame(mixed: Engine) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    first = mixed.encoder
    assert first is not None
    order = mixed.animate(clip_of(steps=8, beginning={"strength": 0.75}), [picture])
    assert order.first is not None
    events = list(mixed.draw(order))
    assert [event.steps for event in events if isinstance(event, Step)] == [6] * 6
    frames = pixels(events)
    as_encoded = mixed.decoder.frame(first.first(order.first).latents)
    assert np.array_equal(frames[0], as_encoded)
    assert not np.array_equal(frames[1], as_encoded)
    with pytest.raises(FieldUnknown, match="no mask"):
        mixed.animate(clip_of(beginning={"strength": 0.5, "masked": True}), [picture, picture])


@dataclass(frozen=True)
class Mate:
    """A still or a clip that joins before turn `joins` and leaves before turn `leaves`."""

    clip: bool
    seed: int
    joins: int
    leaves: int
    flow: str


MATES = st.lists(
    st.builds(Mate, st.booleans(), st.integers(0, 9), st.integers(0, 15), st.integers(1, 40), st.sampled_from("ab")),
    max_size=3,
)


def latents(engine: Engine, request: AnimateRequest, mates: Sequence[Mate], make: Callable[..., DrawRequest]) -> Floats:
    core = EngineCore(engine)
    present: dict[int, Work[Drawing]] = {}
    target = engine.work(engine.animate(request), Claim(time.monotonic() + 600, flow="a"))
    core.admit(target)
    turn = 0
    while not target.ended:
        for number, mate in enumerate(mates):
            if mate.joins == turn:
                order = engine.animate(clip_of(seed=mate.seed)) if mate.clip else engine.order(make(seed=mate.seed))
                present[number] = engine.work(order, Claim(time.monotonic() + 600, flow=mate.flow))
                core.admit(present[number])
            if mate.leaves == turn and number in present:
                core.end(present.pop(number))
        assert all(each.error is None for each in core.turn())
        turn += 1
    for work in list(core.works):
        core.end(work)
    return np.stack([group.latents for group in target.owner.groups])


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(2, MAX_FRAMES), loop=st.booleans(), guidance=st.sampled_from([1.0, 3.0]), mates=MATES)
def test_a_clip_is_the_same_bits_alone_and_in_any_company(
    mixed: Engine,
    frames: int,
    loop: bool,
    guidance: float,
    mates: list[Mate],
) -> None:
    request = clip_of(frames=frames, loop=loop, guidance_scale=guidance, steps=2)
    accompanied = latents(mixed, request, mates, still_of)
    np.testing.assert_array_equal(accompanied, latents(mixed, request, [], still_of))


def still_of(seed: int) -> DrawRequest:
    return DrawRequest(prompt="bird", size=Size(width=16, height=16), steps=3, guidance_scale=2.0, seed=seed, count=1)


def test_a_bundle_of_clips_only_warms_up_measures_and_draws_no_stills(clips_only: Bundle) -> None:
    engine = Engine(clips_only, CpuBackend(threads=1))
    engine.warm_up()
    bucket = engine.bucket(engine.facts.sizes[0], clips=True)
    assert bucket == Bucket((4, 8, 8), window=WINDOW)
    assert engine.costs.unit_seconds > 0
    assert engine.costs.seconds(Stage.STEP, bucket, 2) > 0
    assert engine.usual_slots == 2
    assert len(pixels(animated(engine))) == 6
    with pytest.raises(BundleInvalid, match="draws clips only"):
        engine.order(still_of(1))


def test_a_bundle_of_stills_draws_no_clips(bundle: Bundle) -> None:
    with pytest.raises(BundleInvalid, match="draws no clips"):
        Engine(bundle, CpuBackend(threads=1)).animate(clip_of())


@pytest.mark.parametrize(
    ("wrong", "param", "fact"),
    [
        ({"frames": 13}, "frames", "longer than the 12 that this model draws"),
        ({"frames": 40, "drawn": 14}, "drawn", "longer than the 12"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(
    mixed: Engine, wrong: dict[str, object], param: str, fact: str
) -> None:
    with pytest.raises(RequestInvalid, match=fact) as refused:
        mixed.animate(clip_of(**wrong))
    assert refused.value.param == param


def test_a_clip_that_becomes_nan_says_so_and_harms_nobody(mixed: Engine) -> None:
    core, forever = EngineCore(mixed), Claim(float("inf"))
    sick, sound = (mixed.work(mixed.animate(clip_of()), forever) for _ in range(2))
    core.admit(sick)
    core.admit(sound)
    errors = {}
    while not core.idle:
        for turn in core.turn():
            if turn.work is sick and any(isinstance(event, Step) for event in turn.events):
                sick.owner.groups[0].state[0, 3] = np.nan
            if turn.ended:
                errors[turn.work] = turn.error
    assert isinstance(errors[sick], DrawingFailed)
    assert str(errors[sick]) == "Clip 0 became NaN or infinite in step 2 of 3; another seed may succeed."
    assert errors[sound] is None


async def test_a_clip_that_nobody_waits_for_costs_one_pass_more_at_most(both: Bundle) -> None:
    backend = GatedBackend()
    executor = Executor(Engine(both, backend))
    job = executor.submit(executor.engine.animate(clip_of(frames=MAX_FRAMES)), Claim(time.monotonic() + 60))
    items = job.items()
    backend.allowed.release(5)  # a step of five passes
    assert isinstance(await anext(items), Step)
    job.cancel()
    backend.gate_open = True
    backend.allowed.release(1)
    executor.close()
    assert len(backend.begun) <= 6


async def test_a_clip_whose_time_is_up_ends_between_two_passes(both: Bundle) -> None:
    backend = GatedBackend()
    executor = Executor(Engine(both, backend))
    job = executor.submit(executor.engine.animate(clip_of(frames=MAX_FRAMES)), Claim(time.monotonic() + 0.05))
    with pytest.raises(DeadlineExceeded):
        await anext(job.items())
    backend.gate_open = True
    backend.allowed.release(1)
    executor.close()
    assert len(backend.begun) <= 2


def test_a_pass_without_memory_is_tried_again_and_lowers_no_ceiling(both: Bundle) -> None:
    """There is nothing smaller that it could be."""
    backend = GatedBackend(gate_open=True)
    engine = Engine(both, backend)
    faults = [OutOfMemory("no room")]
    backend.fault = lambda _: faults.pop() if faults else None
    assert len(pixels(animated(engine))) == 6
    assert engine.rows_per_batch == backend.efficient_rows
