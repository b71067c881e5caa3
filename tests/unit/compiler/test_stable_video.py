"""Stable Video Diffusion: a bundle draws the clip that diffusers' own pipeline draws of a picture; all else is refused.

Its weights are random, so that nothing here says how good such a clip is: only that it is the same.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bowerbird.compiler.animate_diff import join_motion
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.describing import describe
from bowerbird.compiler.families import family_of
from bowerbird.compiler.stable_video import video_facts
from bowerbird.contracts import AnimateRequest, Beginning, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import RESIZES, SAMPLERS
from bowerbird.engine.drawing import Engine, Frame
from bowerbird.engine.model.noise import INITIAL_CALL, PICTURE_CALL, noise
from bowerbird.engine.model.sampler import read_sampler_tables

from .conftest import Compile, Compiled

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # diffusers' and transformers' own deprecations
]
WINDOW, TOGETHER, SEED, STEPS = 4, 2, 5, 3
WIDE = Size(width=32, height=16)
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def compiled(family: Callable[[str], Compiled]) -> Compiled:
    return family("small-svd")


@pytest.fixture(scope="module")
def engine(compiled: Compiled) -> Engine:
    return Engine(compiled.bundle, CpuBackend(threads=1))


@pytest.fixture(scope="module")
def pipeline(compiled: Compiled) -> Any:
    """diffusers' own, whole."""
    from diffusers import StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessor

    from bowerbird.compiler.loading import load_component, load_scheduler

    source = Checkpoint(compiled.checkpoint)
    made = StableVideoDiffusionPipeline(
        **{name: load_component(source, name) for name in ("image_encoder", "unet", "vae")},
        scheduler=load_scheduler(source, None),
        feature_extractor=CLIPImageProcessor.from_pretrained(compiled.checkpoint / "feature_extractor"),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def engines_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pipeline lays on the picture: it draws the rest from `latents`."""
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion

    def fresh(shape: tuple[int, ...], **_: Any) -> Any:
        return torch.from_numpy(noise(SEED, PICTURE_CALL, tuple(shape[1:])))[None]

    monkeypatch.setattr(pipeline_stable_video_diffusion, "randn_tensor", fresh)


def picture(size: Size) -> Pixels:
    """Coarse, so that the image encoder sees something of it."""
    cells = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)
    return cells.repeat(size.height // 4, axis=0).repeat(size.width // 4, axis=1)


def clip_request(size: Size, guidance_scale: float) -> AnimateRequest:
    return AnimateRequest(
        size=size,
        steps=STEPS,
        guidance_scale=guidance_scale,
        seed=SEED,
        frames=WINDOW,
        beginning=Beginning(strength=1),
    )


def clip(engine: Engine, size: Size, guidance_scale: float) -> Pixels:
    """`[frames, height, width, 3]`."""
    events = engine.draw(engine.animate(clip_request(size, guidance_scale), [picture(size)[None]]))
    return np.stack([event.pixels for event in events if isinstance(event, Frame)])


@pytest.mark.parametrize(("size", "guidance_scale"), [(WIDE, 3.0), (Size(width=16, height=16), 1.0)])
@pytest.mark.usefixtures("engines_noise")
def test_a_clip_is_the_one_that_the_pipeline_draws(
    compiled: Compiled, engine: Engine, pipeline: Any, size: Size, guidance_scale: float
) -> None:
    """To 1 of 255; decoded two frames at a time, in both."""
    from PIL import Image

    drawn = noise(SEED, INITIAL_CALL, (WINDOW, *compiled.bundle.drawing.latents.shape(size)))
    answer = pipeline(
        Image.fromarray(picture(size)),
        height=size.height,
        width=size.width,
        num_inference_steps=STEPS,
        max_guidance_scale=guidance_scale,
        decode_chunk_size=TOGETHER,
        latents=torch.from_numpy(drawn)[None],
        output_type="np",
    )
    theirs = np.rint(answer.frames[0] * 255)
    assert np.abs(clip(engine, size, guidance_scale) - theirs).max() <= 1
    assert np.abs(np.diff(theirs, axis=0)).mean() > 1, "frames that are all the same would prove nothing"


async def test_the_service_animates_with_it(compiled: Compiled, engine: Engine) -> None:
    import httpx

    from bowerbird.animation.service import routes
    from bowerbird.engine.executor import Executor
    from bowerbird.engine.serving.answering import equip
    from bowerbird.frames import frames_of, npy
    from bowerbird.parts import CONTENT_TYPE, Kind, body_of, part, read_parts
    from bowerbird.worker import create_worker_app

    app, executor = create_worker_app("animation", routes()), Executor(engine)
    equip(app, executor, timeout_seconds=3600.0)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            body = body_of(clip_request(WIDE, 3.0), part(Kind.FRAMES, npy(picture(WIDE)[None])))
            answer = await client.post("/animate", content=body, headers={"Content-Type": CONTENT_TYPE})
            parts = [each async for each in read_parts(answer.aiter_bytes())]
    finally:
        executor.close()
    frames = [frames_of(each.body)[0] for each in parts if each.kind is Kind.FRAMES]
    assert np.array_equal(frames, clip(engine, WIDE, 3.0))


def test_each_part_and_a_whole_clip_were_compared_and_the_bundle_says_what_it_takes(compiled: Compiled) -> None:
    from rich.console import Console

    bundle, motion = compiled.bundle, compiled.bundle.drawing.motion
    manifest = bundle.manifest
    assert motion is not None
    assert motion.image is not None
    assert (motion.window, motion.max_frames, motion.frames_per_second, motion.decoded_together) == (4, 4, 7.0, 2)
    assert (motion.image.motion_bucket, motion.image.noise_strength, motion.image.min_guidance_scale) == (127, 0.02, 1)
    assert set(manifest.parts) == {"image_encoder", "motion_denoiser", "decoder", "encoder"}
    ports = {port.name: port.shape for port in bundle.part("motion_denoiser").inputs}
    assert ports == {
        "sample": ["batch", WINDOW, 4, "height", "width"],
        "timestep": ["batch"],
        "states": ["batch", 1, 16],
        "image_latents": ["batch", 4, "height", "width"],
        "time_ids": ["batch", 3],
    }
    assert bundle.part("decoder").inputs[0].shape == ["batch", TOGETHER, 4, "height", "width"]
    assert bundle.part("image_encoder").inputs[0].shape == ["batch", 3, 224, 224]
    assert {role: facts.inputs for role, facts in manifest.parity.items()} == {
        "image_encoder": 3, "motion_denoiser": 4, "decoder": 4, "encoder": 4
    }  # fmt: skip
    assert all(facts.max_abs_difference <= facts.tolerance for facts in manifest.parity.values())
    assert manifest.picture_parity is not None
    assert manifest.picture_parity.pictures == WINDOW
    assert manifest.tokenizer is None
    console = Console(width=200)
    with console.capture() as said:
        console.print(describe(bundle))
    assert "with a picture, which is all that a clip is told" in said.get()


def test_the_unet_is_told_a_quarter_of_the_logarithm_of_sigma(compiled: Compiled) -> None:
    """From 700 down to 0.002, evenly in the seventh root (Karras et al., 2022)."""
    table = read_sampler_tables(compiled.bundle.path(SAMPLERS))[STEPS]
    roots = np.linspace(700.0 ** (1 / 7), 0.002 ** (1 / 7), STEPS)
    np.testing.assert_allclose(table.timesteps, 0.25 * np.log(roots**7), rtol=1e-4)
    assert table.initial_sigma == pytest.approx(math.hypot(700, 1))


@pytest.mark.parametrize(("height", "width"), [(576, 320), (16, 500)])
def test_resizes_are_what_diffusers_makes_of_a_picture(height: int, width: int) -> None:
    from bowerbird.compiler.resizing import derive_resizes, resized

    shown = np.random.default_rng(0).random((1, 3, height, width), np.float32) * 2 - 1
    resizes = derive_resizes([Size(width=width, height=height)], 224)
    ours = resizes[str(height)] @ shown @ resizes[str(width)].T
    theirs = resized(torch.from_numpy(shown.astype(np.float64)), 224, 224).numpy()
    np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_a_restored_folder_is_a_pipeline_of_the_same_clips(compiled: Compiled, engine: Engine, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from bowerbird.compiler.restore import restore

    restore(compiled.bundle, tmp_path / "again")
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert (index["_class_name"], index["feature_extractor"][1]) == (
        "StableVideoDiffusionPipeline", "CLIPImageProcessor"
    )  # fmt: skip
    again, before = Checkpoint(tmp_path / "again"), Checkpoint(compiled.checkpoint)
    assert family_of(again) == family_of(before)
    assert again.config("feature_extractor") == before.config("feature_extractor")
    for name in ("image_encoder", "unet", "vae"):
        [file], [original] = again.weight_files(name), before.weight_files(name)
        assert load_file(file).keys() == load_file(original).keys()
    assert set(load_file(compiled.bundle.path(RESIZES))) == {"16", "32"}


def altered(compiled: Compiled, folder: Path, name: str, **different: Any) -> Path:
    """The checkpoint with another config of one component; of None, with none of it in its index."""
    shutil.copytree(compiled.checkpoint, folder)
    path = folder / name
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **different}))
    return folder


OTHERWISE: dict[str, tuple[str, dict[str, Any]]] = {
    "no image_encoder": ("model_index.json", {"image_encoder": None}),
    "no feature_extractor": ("model_index.json", {"feature_extractor": None}),
    "reads 4 channels and answers 4": ("unet/config.json", {"in_channels": 4}),
    "4 time ids where Stable Video Diffusion has 3": ("unet/config.json", {"addition_time_embed_dim": 6}),
    "32 frames would be drawn together; at most 31": ("unet/config.json", {"num_frames": 32}),
    "what cannot be": ("bowerbird.json", {"motion": {"image": {"noise_strength": -1}}}),
    "continuous timesteps": ("scheduler/scheduler_config.json", {"timestep_type": "discrete"}),
    "by what pictures are normalised": ("feature_extractor/preprocessor_config.json", {"image_mean": None}),
}


@pytest.mark.parametrize("said", OTHERWISE)
def test_a_checkpoint_that_is_told_otherwise_is_refused_by_what_differs(
    compiled: Compiled, compile_folder: Compile, tmp_path: Path, said: str
) -> None:
    name, different = OTHERWISE[said]
    folder = altered(compiled, tmp_path / "checkpoint", name, **different)
    with pytest.raises(CheckpointUnsupported, match=said):
        compile_folder(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_options_that_do_nothing_here_are_refused(compiled: Compiled, compile_folder: Compile, tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnsupported, match="must be an EulerDiscreteScheduler"):
        compile_folder(compiled.checkpoint, tmp_path / "bundle", sampler="DDIMScheduler")
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    (tiny / "config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    with pytest.raises(CheckpointUnsupported, match="decoded some frames together"):
        compile_folder(compiled.checkpoint, tmp_path / "bundle", preview=tiny, tiny_decoder=True)
    with pytest.raises(CheckpointUnsupported, match="nothing reads the adapter"):
        join_motion(Checkpoint(compiled.checkpoint), tiny)


def test_what_the_checkpoint_states_of_its_clips_is_in_the_bundle(compiled: Compiled, tmp_path: Path) -> None:
    stated = {"motion": {"window": 3, "frames_per_second": 6, "image": {"motion_bucket": 60}}}
    facts = video_facts(Checkpoint(altered(compiled, tmp_path / "stated", "bowerbird.json", **stated)))
    assert facts.image is not None
    assert (facts.window, facts.max_frames, facts.decoded_together, facts.frames_per_second) == (3, 3, 3, 6)
    assert (facts.image.motion_bucket, facts.image.noise_strength) == (60, 0.02)
