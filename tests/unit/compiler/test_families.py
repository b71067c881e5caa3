"""Each family's whole picture is the one that diffusers' own pipeline draws from the same noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine, Frame
from bowerbird.engine.model.noise import INITIAL_CALL, noise

from .conftest import Compile, Compiled

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = [
    pytest.mark.timeout(900),  # the first test of a family exports it: half a minute of one core
    pytest.mark.filterwarnings("ignore"),  # diffusers' and transformers' own deprecations
]
SEED, STEPS, PROMPT = 5, 4, "a small red bird"

Pixels = NDArray[np.uint8]


@pytest.mark.parametrize("name", ["small-sd", "small-v", "small-sdxl", "small-turbo", "small-lcm"])
@pytest.mark.parametrize("negative", [None, "a dull sky"])
def test_a_picture_is_the_one_that_the_pipeline_draws(
    family: Callable[[str], Compiled], name: str, negative: str | None
) -> None:
    compiled = family(name)
    embeds = compiled.bundle.drawing.embeds_guidance
    if embeds and negative:
        pytest.skip("guidance is embedded: nothing reads a negative prompt")
    request = {
        "prompt": PROMPT,
        "negative_prompt": negative,
        "size": {"width": 16, "height": 16},
        "steps": STEPS,
        "guidance_scale": 6.0,
        "seed": SEED,
        "count": 1,
    }
    ours = drawn(compiled.bundle, request)
    theirs = drawn_by_pipeline(compiled.checkpoint, compiled.bundle, negative)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def drawn(bundle: Bundle, request: dict[str, Any]) -> Pixels:
    engine = Engine(bundle, CpuBackend(threads=1))
    events = engine.draw(engine.order(DrawRequest.model_validate(request)))
    (frame,) = [event.pixels for event in events if isinstance(event, Frame)]
    return frame


def drawn_by_pipeline(checkpoint: Path, bundle: Bundle, negative: str | None) -> Pixels:
    """diffusers' pipeline, whole: its tokenisation, guidance, sizes and scheduler; only the noise is ours."""
    from bowerbird.compiler import scheduling

    pipeline = pipeline_of(checkpoint)
    shape = bundle.drawing.latents.shape(Size(width=16, height=16))
    chance = (torch.from_numpy(noise(SEED, call, shape))[None] for call in count(INITIAL_CALL + 1))
    with scheduling.fresh_noise(pipeline.scheduler, lambda: next(chance)):
        answer = pipeline(
            PROMPT,
            negative_prompt=negative,
            height=16,
            width=16,
            num_inference_steps=STEPS,
            guidance_scale=6.0,
            latents=torch.from_numpy(noise(SEED, INITIAL_CALL, shape))[None],
            output_type="np",
        )
    pixels: Pixels = np.rint(answer.images[0] * 255).astype(np.uint8)
    return pixels


def pipeline_of(checkpoint: Path) -> Any:
    import diffusers
    from transformers import PreTrainedTokenizerFast

    from bowerbird.compiler.checkpoint import Checkpoint
    from bowerbird.compiler.families import family_of
    from bowerbird.compiler.loading import load_component, load_scheduler

    source = Checkpoint(checkpoint)
    components = {name: load_component(source, name) for name in family_of(source).components}
    for encoder in family_of(source).text_encoders:
        name = encoder.replace("text_encoder", "tokenizer")
        file = str(checkpoint / name / "tokenizer.json")
        components[name] = PreTrainedTokenizerFast(tokenizer_file=file, pad_token="<|endoftext|>", model_max_length=48)
    more = {} if "text_encoder_2" in components else {"safety_checker": None, "feature_extractor": None}
    pipeline_class = getattr(diffusers, source.index["_class_name"])
    pipeline = pipeline_class(**components, **more, scheduler=load_scheduler(source, None))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_one_graph_draws_every_size(family: Callable[[str], Compiled]) -> None:
    bundle = family("small-sd").bundle
    assert [str(size) for size in bundle.drawing.sizes] == ["32x16", "16x16"]
    ports = {port.name: port.shape for port in bundle.part("denoiser").inputs}
    assert ports["sample"] == ["batch", 4, "height", "width"]
    assert [port.shape for port in bundle.part("encoder").inputs] == [["batch", 3, "picture_height", "picture_width"]]
    assert bundle.manifest.parity["denoiser"].inputs == 4, "three of the smallest size, one of the other"


def test_a_tiny_autoencoder_beside_the_checkpoint_becomes_the_preview(family: Callable[[str], Compiled]) -> None:
    from bowerbird.engine.model.preview import Preview

    bundle = family("small-sd").bundle
    assert bundle.part("preview").model_class == "AutoencoderTiny"
    latents = noise(0, 0, (4, 8, 16))
    assert Preview(bundle, CpuBackend(threads=1)).picture(latents).shape == (16, 32, 3)


def test_drafts_are_drawn_with_a_tiny_autoencoder_that_is_named(
    family: Callable[[str], Compiled], compile_folder: Compile, tmp_path: Path
) -> None:
    """Of the checkpoint's own autoencoder only the encoder is left, for edits."""
    whole = family("small-sd")
    tiny = whole.checkpoint / "preview_vae"
    facts = {"sizes": tuple(whole.bundle.drawing.sizes), "preview": tiny, "tiny_decoder": True}
    draft = compile_folder(whole.checkpoint, tmp_path / "draft", **facts).bundle
    assert draft.part("decoder").model_class == "AutoencoderTiny"
    assert draft.part("encoder").model_class == "AutoencoderKL"
    assert "preview" not in draft.manifest.parts
    assert draft.manifest.picture_parity is not None
    assert draft.manifest.picture_parity.psnr_db >= 30


def test_stable_diffusion_xl_says_what_its_denoiser_is_told(family: Callable[[str], Compiled]) -> None:
    bundle = family("small-sdxl").bundle
    assert bundle.drawing.size_conditioned
    assert bundle.drawing.zero_empty_negative
    assert [port.name for port in bundle.part("text_encoder_2").outputs] == ["states", "pooled"]
    assert {port.name: port.shape[1:] for port in bundle.part("denoiser").inputs} == {
        "sample": [4, 8, 8], "timestep": [], "states": [48, 28], "pooled": [12], "time_ids": [6]
    }  # fmt: skip


def test_a_family_brings_its_own_defaults(family: Callable[[str], Compiled], tmp_path: Path) -> None:
    from bowerbird.compiler.checkpoint import Checkpoint
    from bowerbird.compiler.families import family_of

    assert family("small-turbo").bundle.drawing.default_guidance_scale == 1
    assert family("small-lcm").bundle.drawing.embeds_guidance
    turbo = family_of(Checkpoint(family("small-turbo").checkpoint))
    assert (turbo.name, turbo.default_steps) == ("Stable Diffusion XL", 1)
