"""Clips that are told a picture and no prompt: what each step reads, what of it chance is, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.compiler.tensor_file import write_tensors
from bowerbird.compiler.writing import canonical
from bowerbird.contracts import MAX_CLIP_FRAMES, AnimateRequest, Size
from bowerbird.engine.backend import Floats
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import MANIFEST, MOTION, RESIZES, Bundle, FileFacts, Manifest, MotionFacts, digest_of
from bowerbird.engine.drawing import Engine, Event, Frame, PreviewFrame, Step, Summary
from bowerbird.engine.model.clip import ClipForm, ClipGroup
from bowerbird.engine.model.noise import INITIAL_CALL, PICTURE_CALL, noise
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Stage
from bowerbird.errors import BundleInvalid, DrawingFailed, FieldUnknown, RequestInvalid
from bowerbird.frames import Frames

from .tiny_bundle import WINDOW, Tiny, write_tiny_bundle
from .tiny_video import (
    FRAMES_PER_SECOND,
    IMAGE_SIDE,
    MOTION_BUCKET,
    NOISE_STRENGTH,
    motion_facts,
    resizes,
)

SIDE = 16


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "video", Tiny(image=True, side=SIDE))


@pytest.fixture(scope="module")
def engine(video: Bundle) -> Engine:
    return Engine(video, CpuBackend(threads=1))


def picture(seed: int = 0, side: int = SIDE) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (1, side, side, 3), dtype=np.uint8)


def clip_of(**different: object) -> AnimateRequest:
    usual = {
        "size": Size(width=SIDE, height=SIDE),
        "steps": 3,
        "guidance_scale": 3.0,
        "seed": 7,
        "frames": WINDOW,
        "beginning": {"strength": 1},
    }
    return AnimateRequest.model_validate(usual | different)


def animated(engine: Engine, *pictures: Frames, **different: object) -> list[Event]:
    return list(engine.draw(engine.animate(clip_of(**different), pictures or [picture()])))


def pixels(events: Sequence[Event]) -> Frames:
    return np.stack([event.pixels for event in events if isinstance(event, Frame)])


def test_each_row_is_told_what_is_seen_of_the_picture_and_the_other_nothing(video: Bundle, engine: Engine) -> None:
    """Computed again here, from the graphs."""
    [group] = engine.groups(Drawing(engine.animate(clip_of(), [picture()])))
    assert group.negative is not None
    scaled = picture()[0].astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    means = scaled.reshape(3, IMAGE_SIDE, 2, IMAGE_SIDE, 2).mean(axis=(2, 4))
    backend = CpuBackend(threads=1)
    seen = backend.load(video.path("image_encoder.onnx")).run({"pictures": means[None]})["states"][0]
    noised = scaled + np.float32(NOISE_STRENGTH) * noise(7, PICTURE_CALL, scaled.shape)
    latents = backend.load(video.path("encoder.onnx")).run({"pictures": noised[None]})["latents"][0]
    np.testing.assert_allclose(group.positive["states"], seen, atol=1e-5)
    np.testing.assert_allclose(group.positive["image_latents"], latents, atol=1e-5)
    for told in (group.positive, group.negative):
        np.testing.assert_allclose(told["time_ids"], [FRAMES_PER_SECOND - 1, MOTION_BUCKET, NOISE_STRENGTH])
    assert not any(group.negative[port].any() for port in ("states", "image_latents"))


def test_a_clip_begins_with_noise_alone_and_a_step_guides_each_frame_by_its_own_scale(
    video: Bundle, engine: Engine
) -> None:
    [group] = engine.groups(Drawing(engine.animate(clip_of(), [picture()])))
    assert isinstance(group, ClipGroup)
    assert group.negative is not None
    table, before = group.table, group.state.copy()
    np.testing.assert_array_equal(before[0], table.initial_sigma * noise(7, INITIAL_CALL, before[0].shape))
    graph = CpuBackend(threads=1).load(video.path(f"{MOTION}.onnx"))
    read = {"sample": table.denoiser_input(0, before)[None], "timestep": table.timesteps[:1]}
    answers: list[Floats] = [
        graph.run({**read, **{port: value[None] for port, value in told.items()}})["output"][0]
        for told in (group.negative, group.positive)
    ]
    scales = np.array([1, 5 / 3, 7 / 3, 3], np.float32)[:, None, None, None]
    guided = answers[0] + scales * (answers[1] - answers[0])
    engine.denoiser.step([group])
    np.testing.assert_allclose(group.state, table.advance(0, before, guided, group.noise(1)), atol=1e-5)


def test_frames_leave_in_order_as_they_are_decoded_together(engine: Engine) -> None:
    """Of four frames, three and then one: the last call reads frames 1 to 3."""
    events = animated(engine, count=2, preview_steps=2)
    frames = [Frame] * WINDOW
    steps = [Step, Step, PreviewFrame, Step]
    assert [type(event) for event in events] == [*steps, *frames, *steps, *frames, Summary]
    assert [(each.index, each.seed) for each in events if isinstance(each, Frame)] == [
        (k, 7 + k // 4) for k in range(8)
    ]
    assert [each.finished for each in events if isinstance(each, Step)] == [0, 0, 0, 4, 4, 4]
    summary = events[-1]
    assert isinstance(summary, Summary)
    assert set(summary.seconds) == {"queue", "encode_picture", "denoise", "preview", "decode"}
    assert summary.steps_computed == 2 * 3 * WINDOW


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(2, MAX_CLIP_FRAMES), together=st.integers(1, 16))
def test_every_frame_leaves_once_and_the_decoder_always_reads_as_many(frames: int, together: int) -> None:
    facts = motion_facts(WINDOW, 2).model_copy(update={"decoded_together": together})
    form = ClipForm(facts, frames, min(frames, WINDOW))
    chunks = [form.chunk(part) for part in range(form.decodes)]
    assert [each for leaving, _ in chunks for each in leaving] == list(range(frames))
    for leaving, read in chunks:
        assert len(read) == together
        assert set(leaving) <= set(read) <= set(range(frames))
        assert read == sorted(read), "neighbours, and of a clip too short its last frame again"


def test_a_frame_is_decoded_beside_its_neighbours(video: Bundle, engine: Engine) -> None:
    [group] = engine.groups(Drawing(engine.animate(clip_of(), [picture()])))
    decoder = CpuBackend(threads=1).load(video.path("decoder.onnx"))
    expected = decoder.run({"latents": group.latents[None, 1:4]})["pictures"][0]
    work = engine.decoder.frames(list(group.latents[1:4]))
    for ours, theirs in zip(work, expected, strict=True):
        np.testing.assert_allclose(ours, (theirs.transpose(1, 2, 0) + 1) * 127.5, atol=0.51)
    sick = group.latents.copy()
    sick[2, 0, 0, 0] = np.nan
    with pytest.raises(DrawingFailed, match="Frame 5 became NaN"):
        engine.decoder.frames(list(sick[1:4]), first=5)


def test_the_same_seed_and_picture_give_the_same_clip_and_others_another(engine: Engine) -> None:
    once = pixels(animated(engine))
    assert np.array_equal(once, pixels(animated(engine)))
    assert not np.array_equal(once, pixels(animated(engine, picture(1))))
    assert not np.array_equal(once, pixels(animated(engine, seed=8)))
    both = pixels(animated(engine, count=2, seed=6))
    assert np.array_equal(both[WINDOW:], once), "clip 1 of seed 6 is the clip of seed 7, noise on the picture included"


def test_fewer_frames_are_the_first_of_a_whole_window_and_more_lie_between(engine: Engine) -> None:
    [group] = engine.groups(Drawing(engine.animate(clip_of(frames=2), [picture()])))
    assert group.state.shape[1] == WINDOW
    assert pixels(animated(engine, frames=2)).shape == (2, SIDE, SIDE, 3)
    assert pixels(animated(engine, frames=7, drawn=4)).shape == (7, SIDE, SIDE, 3)


def test_without_guidance_a_clip_is_one_row(engine: Engine) -> None:
    [group] = engine.groups(Drawing(engine.animate(clip_of(guidance_scale=1), [picture()])))
    assert group.rows == 1
    assert len(pixels(animated(engine, guidance_scale=1))) == WINDOW


@pytest.mark.parametrize(
    ("different", "param", "error"),
    [
        ({"prompt": "a small red bird"}, "prompt", FieldUnknown),
        ({"negative_prompt": "dull"}, "negative_prompt", FieldUnknown),
        ({"loop": True}, "loop", FieldUnknown),
        ({"beginning": {"strength": 0.5}}, "strength", FieldUnknown),
        ({"beginning": {"strength": 1, "masked": True}}, "beginning", FieldUnknown),
        ({"beginning": None}, "beginning", RequestInvalid),
        ({"size": Size(width=24, height=24)}, "size", RequestInvalid),
        ({"frames": WINDOW + 1}, "frames", RequestInvalid),
    ],
)
def test_what_does_nothing_and_what_is_wanting_is_refused_by_name(
    engine: Engine, different: dict[str, object], param: str, error: type[RequestInvalid]
) -> None:
    with pytest.raises(error) as refused:
        engine.animate(clip_of(**different), [picture()])
    assert refused.value.param == param


@pytest.mark.parametrize("pictures", [[], [picture(side=24)], [picture(), picture()]])
def test_a_picture_that_was_not_announced_so_is_refused(engine: Engine, pictures: list[Frames]) -> None:
    with pytest.raises(RequestInvalid) as refused:
        engine.animate(clip_of(), pictures)
    assert refused.value.param == "beginning"


def test_a_model_that_reads_prompts_wants_one(tmp_path: Path) -> None:
    prompted = Engine(write_tiny_bundle(tmp_path / "prompted", Tiny(motion=True)), CpuBackend(threads=1))
    with pytest.raises(RequestInvalid) as refused:
        prompted.animate(clip_of(beginning=None))
    assert refused.value.param == "prompt"


def test_warming_up_measures_what_a_request_will_take(video: Bundle) -> None:
    engine = Engine(video, CpuBackend(threads=1))
    engine.warm_up()
    bucket = engine.bucket(engine.facts.sizes[0], clips=True)
    for stage in (Stage.ENCODE_PICTURE, Stage.STEP, Stage.DECODE):
        assert engine.costs.seconds(stage, bucket, 2) > 0
    assert engine.costs.seconds(Stage.ENCODE, bucket, 1) == 0, "it has no prompts"


def test_a_clip_that_is_told_a_picture_is_one_window() -> None:
    facts = motion_facts(WINDOW, 2).model_dump()
    with pytest.raises(ValueError, match="so there is one"):
        MotionFacts.model_validate(facts | {"max_frames": WINDOW + 1})


def test_a_bundle_that_cannot_resize_a_size_of_its_own_is_refused(video: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(video.folder, tmp_path / "copied"))
    write_tensors(folder / RESIZES, resizes(24))
    facts = FileFacts(sha256=digest_of(folder / RESIZES), bytes=(folder / RESIZES).stat().st_size)
    manifest: Manifest = video.manifest.model_copy(update={"files": {**video.manifest.files, RESIZES: facts}})
    (folder / MANIFEST).write_bytes(canonical(manifest))
    with pytest.raises(BundleInvalid, match="a side of 16 pixels"):
        Engine(Bundle.open(folder), CpuBackend(threads=1))
