"""AnimateDiff: a bundle draws the clip that diffusers' own pipeline draws, and what does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.checkpoints import SHAPES, write_checkpoint, write_component
from bowerbird.compiler.animate_diff import join_motion, motion_facts
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.describing import describe
from bowerbird.contracts import AnimateRequest, Size
from bowerbird.engine.backend import Session
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.drawing import Engine, Frame
from bowerbird.engine.model.noise import INITIAL_CALL, noise

from .conftest import Compile, Compiled

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # diffusers' and transformers' own deprecations
]
WINDOW, SEED, STEPS, PROMPT = 4, 5, 3, "a small red bird"
Arrays = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def compiled(family: Callable[[str], Compiled]) -> Compiled:
    return family("small-animatediff")


@pytest.fixture(scope="module")
def session(compiled: Compiled) -> Session:
    return CpuBackend(threads=1).load(compiled.bundle.graph("motion_denoiser"))


@pytest.fixture(scope="module")
def reference(compiled: Compiled) -> Any:
    return joined_by_diffusers(compiled.checkpoint)


def joined_by_diffusers(folder: Path) -> Any:
    """A UNet and a motion adapter as its AnimateDiffPipeline brings them together."""
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    adapter = MotionAdapter.from_pretrained(folder / "motion_adapter", torch_dtype=torch.float32)
    return UNetMotionModel.from_unet2d(unet, adapter).eval()


@pytest.fixture(scope="module")
def engine(compiled: Compiled) -> Engine:
    return Engine(compiled.bundle, CpuBackend(threads=1))


def clip(engine: Engine, **wanted: Any) -> NDArray[np.uint8]:
    """uint8 `[frames, height, width, 3]`."""
    usual = {"prompt": PROMPT, "size": {"width": 16, "height": 16}, "steps": STEPS, "guidance_scale": 6.0, "seed": SEED}
    request = AnimateRequest.model_validate({**usual, "count": 1, "frames": WINDOW, **wanted})
    events = engine.draw(engine.animate(request))
    return np.stack([event.pixels for event in events if isinstance(event, Frame)])


@pytest.mark.parametrize("negative", [None, "a dull sky"])
def test_a_clip_is_the_one_that_the_pipeline_draws(
    compiled: Compiled, engine: Engine, reference: Any, negative: str | None
) -> None:
    """diffusers' pipeline, whole, with the noise that the engine draws."""
    from diffusers import AnimateDiffPipeline
    from transformers import PreTrainedTokenizerFast

    from bowerbird.compiler.loading import load_component, load_scheduler

    source, file = Checkpoint(compiled.checkpoint), str(compiled.checkpoint / "tokenizer" / "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, pad_token="<|endoftext|>", model_max_length=48)
    parts = {name: load_component(source, name) for name in ("text_encoder", "vae")}
    scheduler = load_scheduler(source, None)
    pipeline = AnimateDiffPipeline(
        **parts, tokenizer=tokenizer, unet=reference, motion_adapter=None, scheduler=scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    drawn = noise(SEED, INITIAL_CALL, (WINDOW, *compiled.bundle.drawing.latents.shape(Size(width=16, height=16))))
    answer = pipeline(
        PROMPT,
        negative_prompt=negative,
        num_frames=WINDOW,
        height=16,
        width=16,
        num_inference_steps=STEPS,
        guidance_scale=6.0,
        latents=torch.from_numpy(drawn).transpose(0, 1)[None],
        output_type="np",
    )
    theirs = np.rint(answer.frames[0] * 255)
    ours = clip(engine, negative_prompt=negative)
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(np.diff(theirs, axis=0)).mean() > 1, "frames that are all the same would prove nothing"


def test_whole_clips_were_compared_and_the_bundle_says_what_they_are(compiled: Compiled) -> None:
    from rich.console import Console

    manifest, motion = compiled.bundle.manifest, compiled.bundle.drawing.motion
    assert motion is not None
    assert (motion.window, motion.overlap, motion.frames_per_second, motion.shared_noise) == (WINDOW, 2, 8.0, 0.0)
    assert set(manifest.parts) == {"text_encoder", "motion_denoiser", "decoder", "encoder"}
    assert compiled.bundle.part("motion_denoiser").inputs[0].shape == ["batch", WINDOW, 4, "height", "width"]
    parity = manifest.parity["motion_denoiser"]
    assert parity.max_abs_difference <= parity.tolerance
    assert parity.inputs == 4, "three of the smallest size, one of the other"
    assert manifest.half_parity["motion_denoiser"].psnr_db >= 30
    assert manifest.picture_parity is not None
    assert manifest.picture_parity.pictures == WINDOW
    assert manifest.picture_parity.psnr_db >= 30
    console = Console(width=200)
    with console.capture() as said:
        console.print(describe(compiled.bundle))
    for words in ("of at most 120 drawn frames, 4 at a time", "over 4 frames of a clip"):
        assert words in said.get()


def test_a_clip_longer_than_the_window_is_drawn_and_a_loop_closes(engine: Engine) -> None:
    long = clip(engine, frames=7)
    loop = clip(engine, frames=6, loop=True)
    assert (long.shape, loop.shape) == ((7, 16, 16, 3), (6, 16, 16, 3))
    assert np.array_equal(long, clip(engine, frames=7)), "the same seed is the same clip"
    assert len({frame.tobytes() for frame in long}) == 7


def inputs_of(rows: int, height: int = 8, width: int = 8) -> Arrays:
    random = np.random.default_rng(rows)
    return {
        "sample": random.standard_normal((rows, WINDOW, 4, height, width), np.float32),
        "timestep": np.linspace(990, 10, rows, dtype=np.float32).round(),
        "states": random.standard_normal((rows, 48, 16), np.float32),
    }


@pytest.mark.parametrize(("rows", "width"), [(1, 8), (2, 16), (5, 8)])
def test_the_graph_answers_what_diffusers_answers_for_any_rows_and_size(
    session: Session, reference: Any, rows: int, width: int
) -> None:
    inputs = inputs_of(rows, width=width)
    sample, timestep, states = (torch.from_numpy(value) for value in inputs.values())
    with torch.inference_mode():
        wanted = reference(
            sample.transpose(1, 2), timestep, encoder_hidden_states=states.repeat_interleave(WINDOW, dim=0)
        ).sample.transpose(1, 2)
    answer = session.run(inputs)["output"]
    assert np.abs(answer - wanted.numpy()).max() < 2e-3 * max(1.0, float(wanted.abs().max()))


def test_rows_do_not_see_each_other_and_frames_of_a_row_do(session: Session) -> None:
    inputs = inputs_of(2)
    before = session.run(inputs)["output"]
    changed = inputs["sample"].copy()
    changed[0, 2] += 1
    after = session.run(inputs | {"sample": changed})["output"]
    assert np.abs(after[1] - before[1]).max() < 1e-5
    assert all(np.abs(after[0, frame] - before[0, frame]).max() > 1e-4 for frame in range(WINDOW))


def test_equal_frames_at_other_places_get_other_answers(session: Session) -> None:
    inputs = inputs_of(1)
    still = np.repeat(inputs["sample"][:, :1], WINDOW, axis=1)
    answers = session.run(inputs | {"sample": still})["output"]
    assert np.abs(answers[0, 0] - answers[0, 1]).max() > 1e-4


def test_positions_are_kept_once(compiled: Compiled) -> None:
    from bowerbird.compiler.tensor_file import TensorReader
    from bowerbird.engine.bundle import WEIGHTS

    names = TensorReader(compiled.bundle.path(WEIGHTS)).facts
    shape = (1, 8, 8)
    assert not [name for name, facts in names.items() if name.startswith("graph.") and facts.shape == shape]
    assert [name for name in names if name.endswith("pos_embed.pe")]


def test_a_restored_folder_is_an_animatediff_pipeline_whose_unet_moves(
    compiled: Compiled, reference: Any, tmp_path: Path
) -> None:
    from diffusers import UNetMotionModel

    from bowerbird.compiler.restore import restore

    restore(compiled.bundle, tmp_path / "again")
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert (index["_class_name"], index["unet"][1]) == ("AnimateDiffPipeline", "UNetMotionModel")
    assert motion_facts(Checkpoint(tmp_path / "again")) == compiled.bundle.drawing.motion
    unet = UNetMotionModel.from_pretrained(tmp_path / "again" / "unet").eval()
    for key, value in unet.state_dict().items():
        np.testing.assert_allclose(value.numpy(), reference.state_dict()[key].numpy(), rtol=1e-3, atol=1e-6)


def two_levels(folder: Path) -> Path:
    """Two sizes of features, the smaller without attention, and a motion module in the middle."""
    small = SHAPES["small-animatediff"]
    blocks = {"block_out_channels": (8, 16), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
              "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}  # fmt: skip
    motion = {**(small.motion or {}), "block_out_channels": (8, 16), "use_motion_mid_block": True}
    return write_checkpoint(folder, replace(small, unet={**small.unet, **blocks}, motion=motion))


def test_two_folders_become_the_unet_that_diffusers_makes_of_them(tmp_path: Path) -> None:
    from bowerbird.compiler.loading import load_component

    checkpoint = Checkpoint(two_levels(tmp_path / "checkpoint"))
    join_motion(checkpoint, None)
    ours, theirs = load_component(checkpoint, "unet"), joined_by_diffusers(checkpoint.folder)
    assert {key: value for key, value in theirs.config.items() if ours.config[key] != value} == {}
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    inputs = [torch.from_numpy(value) for value in inputs_of(1).values()]
    with torch.inference_mode():
        asked = (inputs[0].transpose(1, 2), inputs[1], inputs[2].repeat_interleave(WINDOW, 0))
        one, other = ours(*asked).sample, theirs(*asked).sample
    assert torch.allclose(one, other, atol=1e-5), (one - other).abs().max()


def adapted(compiled: Compiled, folder: Path, **different: Any) -> Path:
    """The checkpoint's still half, and an adapter of another shape."""
    shutil.copytree(compiled.checkpoint, folder)
    shutil.rmtree(folder / "motion_adapter")
    config = {**(SHAPES["small-animatediff"].motion or {}), **different}
    write_component(folder / "motion_adapter", "diffusers", "MotionAdapter", config, 1)
    return folder


def stated(compiled: Compiled, folder: Path, **motion: Any) -> Path:
    shutil.copytree(compiled.checkpoint, folder)
    (folder / "bowerbird.json").write_text(json.dumps({"motion": motion}))
    return folder


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"block_out_channels": (16,)}, r"a unet whose block_out_channels are \[16\], not \[8\]"),
        ({"motion_layers_per_block": 2}, r"layers_per_block are \[2\], not \[1\]"),
        ({"conv_in_channels": 9}, "PIA"),
        ({"motion_max_seq_length": 2}, "A window of 4 frames: the motion modules know 2 to 2"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_what_does_not(
    compiled: Compiled, compile_folder: Compile, tmp_path: Path, different: dict[str, Any], said: str
) -> None:
    folder = adapted(compiled, tmp_path / "checkpoint", **different)
    with pytest.raises(CheckpointUnsupported, match=said):
        compile_folder(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_clips_that_cannot_be_are_refused(compiled: Compiled, compile_folder: Compile, tmp_path: Path) -> None:
    folder = stated(compiled, tmp_path / "checkpoint", window=4, overlap=4)
    with pytest.raises(CheckpointUnsupported, match="overlap must be less than window"):
        compile_folder(folder, tmp_path / "bundle")


def test_an_adapter_that_lies_elsewhere_makes_a_still_checkpoint_move(compiled: Compiled, tmp_path: Path) -> None:
    folder = tmp_path / "still"
    shutil.copytree(compiled.checkpoint, folder)
    shutil.move(folder / "motion_adapter", tmp_path / "adapter")
    index = json.loads((folder / "model_index.json").read_text())
    del index["motion_adapter"]
    (folder / "model_index.json").write_text(json.dumps(index))
    checkpoint = Checkpoint(folder)
    join_motion(checkpoint, None)
    assert checkpoint.class_of("unet") == "UNet2DConditionModel"
    join_motion(checkpoint, tmp_path / "adapter")
    assert checkpoint.class_of("unet") == "UNetMotionModel"
    with pytest.raises(CheckpointUnsupported, match="motion modules of its own"):
        join_motion(checkpoint, tmp_path / "adapter")
