"""A checkpoint becomes a bundle that computes the same, is found again in the cache, and can be turned back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.restore import restore
from bowerbird.compiler.tokenizing import read_tokenizer
from bowerbird.contracts import DrawRequest
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.cpu import CpuBackend
from bowerbird.engine.drawing import Engine, Frame

pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = pytest.mark.timeout(600)  # exporting is half a minute of one core


class Compiled:
    """One compile, what it reported, and the cache it left."""

    def __init__(self, checkpoint: Path, target: Path, cache: Path) -> None:
        from bowerbird.compiler.compiling import Identity, compile_checkpoint
        from bowerbird.compiler.export import ExportCache

        self.said: list[str] = []
        identity = Identity("small", "1", "Apache-2.0", default_steps=4, default_guidance_scale=3.0)
        self.bundle = compile_checkpoint(Checkpoint(checkpoint), target, identity, ExportCache(cache), self.said.append)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compiled(checkpoint_folder: Path, folder: Path) -> Compiled:
    return Compiled(checkpoint_folder, folder / "bundle", folder / "cache")


def test_every_part_and_whole_pictures_equal_diffusers(compiled: Compiled) -> None:
    manifest = compiled.bundle.manifest
    assert set(manifest.parity) == {"text_encoder", "denoiser", "decoder", "encoder"}
    for facts in manifest.parity.values():
        assert facts.max_abs_difference <= facts.tolerance <= 1e-3
        assert facts.inputs == 3
    assert manifest.picture_parity is not None
    assert manifest.picture_parity.psnr_db >= 40


def test_the_bundle_says_what_it_draws(compiled: Compiled) -> None:
    drawing = compiled.bundle.drawing
    assert [str(size) for size in drawing.sizes] == ["8x8"]
    assert (drawing.latents.channels, drawing.latents.downscale, drawing.latents.scaling_factor) == (4, 2, 0.8)
    assert (drawing.sampler, drawing.max_steps) == ("DDIMScheduler", 50)
    assert compiled.bundle.manifest.lineage == {"seed": 0}
    ports = {port.name: port.shape for port in compiled.bundle.part("denoiser").inputs}
    assert ports == {"sample": ["batch", 4, 4, 4], "timestep": ["batch"], "states": ["batch", 16, 16]}


def test_no_graph_says_where_it_was_made(compiled: Compiled) -> None:
    for role in compiled.bundle.manifest.parts:
        graph = compiled.bundle.path(f"{role}.onnx").read_bytes()
        assert b"site-packages" not in graph
        assert b".py" not in graph


def test_an_engine_draws_from_it(compiled: Compiled) -> None:
    engine = Engine(compiled.bundle, CpuBackend(threads=1))
    request = DrawRequest.model_validate(
        {
            "prompt": "a red bird",
            "size": {"width": 8, "height": 8},
            "steps": 5,
            "guidance_scale": 3,
            "seed": 1,
            "count": 2,
        }
    )
    frames = [event for event in engine.draw(engine.order(request)) if isinstance(event, Frame)]
    assert [frame.pixels.shape for frame in frames] == [(8, 8, 3)] * 2


def test_a_second_compile_exports_nothing_and_gives_the_same_files(
    compiled: Compiled, checkpoint_folder: Path, folder: Path
) -> None:
    again = Compiled(checkpoint_folder, folder / "again", folder / "cache")
    assert [words for words in compiled.said if words.endswith("exporting")] == [
        "text_encoder: exporting", "denoiser: exporting", "decoder: exporting", "encoder: exporting"
    ]  # fmt: skip
    assert not [words for words in again.said if words.endswith("exporting")]
    assert again.bundle.manifest.files == compiled.bundle.manifest.files


def test_diffusers_loads_what_restore_writes_and_it_holds_the_same_weights(
    compiled: Compiled, checkpoint_folder: Path, folder: Path
) -> None:
    from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    restored = folder / "restored"
    restore(compiled.bundle, restored)
    loaded: tuple[tuple[Any, str], ...] = (
        (UNet2DConditionModel, "unet"),
        (AutoencoderDC, "vae"),
        (CLIPTextModel, "text_encoder"),
    )
    for model_class, name in loaded:
        before, after = (
            model_class.from_pretrained(each / name).state_dict() for each in (checkpoint_folder, restored)
        )
        assert set(before) == set(after)
        for key, value in before.items():
            np.testing.assert_allclose(after[key].float().numpy(), value.numpy(), rtol=1e-3, atol=1e-6)
    assert DDIMScheduler.from_pretrained(restored / "scheduler").config["prediction_type"] == "v_prediction"
    assert json.loads((restored / "lineage.json").read_text())["restored_from"] == compiled.bundle.digest
    with pytest.raises(FileExistsError):
        restore(compiled.bundle, restored)


def test_a_restored_tokenizer_pads_again(compiled: Compiled, checkpoint_folder: Path, folder: Path) -> None:
    restore(compiled.bundle, folder / "round")
    once, again = (read_tokenizer(Checkpoint(each)) for each in (checkpoint_folder, folder / "round"))
    assert again == once


def test_a_part_that_answers_differently_stops_the_compile(compiled: Compiled) -> None:
    from bowerbird.compiler.parity import BundleDiffers, Reference, compare_part
    from bowerbird.compiler.parts import DECODER

    latents = np.ones((3, 4, 4, 4), np.float32)
    session = CpuBackend(threads=1).load(compiled.bundle.path("decoder.onnx"))
    wrong = session.run({"latents": latents})["pictures"] + np.float32(0.01)
    with pytest.raises(BundleDiffers, match=r"^decoder differs from the checkpoint by 1\.00e-02 \(tolerance"):
        compare_part(DECODER, session, Reference({"latents": latents}, wrong, wrong))


def changed(checkpoint: Path, target: Path, file: str, **facts: Any) -> Path:
    """A copy of a checkpoint with other facts in one of its JSON files."""
    shutil.copytree(checkpoint, target)
    document = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(document | facts))
    return target


@pytest.mark.parametrize(
    ("file", "facts", "refusal"),
    [
        ("model_index.json", {"unet": ["diffusers", "SD3Transformer2DModel"]}, "unet is a SD3Transformer2DModel; this"),
        ("model_index.json", {"vae": None}, "names no vae"),
        ("scheduler/scheduler_config.json", {"clip_sample": True}, "DDIMScheduler with 1 steps is not of the form"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_leaves_nothing(
    checkpoint_folder: Path, tmp_path: Path, file: str, facts: dict[str, Any], refusal: str
) -> None:
    checkpoint = changed(checkpoint_folder, tmp_path / "checkpoint", file, **facts)
    with pytest.raises(CheckpointUnsupported, match=refusal):
        Compiled(checkpoint, tmp_path / "bundle", tmp_path / "cache")
    assert {path.name for path in tmp_path.iterdir()} <= {"checkpoint", "cache"}


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnsupported, match=r"model_index\.json is not a readable JSON file"):
        Checkpoint(tmp_path)


def test_a_bundle_is_the_same_wherever_it_lies(compiled: Compiled, tmp_path: Path) -> None:
    moved = shutil.copytree(compiled.bundle.folder, tmp_path / "moved")
    assert Bundle.open(Path(moved)).digest == compiled.bundle.digest
