"""A checkpoint becomes a bundle that computes the same, is found again in the cache, and can be turned back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.checkpoints import SHAPES, write_checkpoint
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.families import family_of
from bowerbird.compiler.restore import restore
from bowerbird.compiler.tokenizing import read_tokenizers
from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import WEIGHTS, Bundle
from bowerbird.engine.drawing import Engine, Frame

from .conftest import MAX_STEPS, Compile, Compiled

pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = pytest.mark.timeout(900)  # exporting is half a minute of one core


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compiled(checkpoint_folder: Path, folder: Path, compile_folder: Compile) -> Compiled:
    return compile_folder(checkpoint_folder, folder / "bundle", lora=True)


def test_every_part_and_whole_pictures_equal_diffusers(compiled: Compiled) -> None:
    manifest = compiled.bundle.manifest
    plain = {"text_encoder", "denoiser", "decoder", "encoder"}
    assert set(manifest.parity) == plain | {"text_encoder_lora", "denoiser_lora"}
    for facts in manifest.parity.values():
        assert facts.max_abs_difference <= facts.tolerance <= 1e-3
        assert facts.rounding_psnr_db >= 40
        assert facts.inputs == 3
    assert manifest.picture_parity is not None
    assert manifest.picture_parity.psnr_db >= 40


def test_the_bundle_says_what_it_draws(compiled: Compiled) -> None:
    drawing = compiled.bundle.drawing
    assert [str(size) for size in drawing.sizes] == ["8x8"]
    assert (drawing.latents.channels, drawing.latents.downscale) == (4, 2)
    assert (drawing.sampler, drawing.max_steps) == ("DDIMScheduler", MAX_STEPS)
    assert compiled.bundle.manifest.lineage == {"seed": 0}
    ports = {port.name: port.shape for port in compiled.bundle.part("denoiser").inputs}
    assert ports == {"sample": ["batch", 4, 4, 4], "timestep": ["batch"], "states": ["batch", 16, 16]}


def test_the_bundle_says_which_layers_take_loras(compiled: Compiled) -> None:
    banks = compiled.bundle.manifest.lora
    assert set(banks) == {"text_encoder", "denoiser"}
    ports = {port.name: port.shape for port in compiled.bundle.part("denoiser_lora").inputs}
    bank = banks["denoiser"][0]
    assert ports["lora_slots"] == ["batch", "loras"]
    assert ports[f"lora_{bank.name}_down"] == ["slots", len(bank.modules), "rank", bank.in_features]
    assert ports[f"lora_{bank.name}_up"] == ["slots", len(bank.modules), bank.out_features, "rank"]


def test_no_graph_says_where_it_was_made_or_holds_a_weight(compiled: Compiled) -> None:
    for role in compiled.bundle.manifest.parts:
        graph = compiled.bundle.path(f"{role}.onnx").read_bytes()
        assert b"site-packages" not in graph
        assert b".py" not in graph
        assert len(graph) < 200_000


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
    compiled: Compiled, folder: Path, compile_folder: Compile
) -> None:
    again = compile_folder(compiled.checkpoint, folder / "again", lora=True)
    assert "denoiser_lora: found unchanged" in again.said
    assert not [words for words in again.said if words.endswith("exporting")]
    assert again.bundle.manifest.files == compiled.bundle.manifest.files


def test_other_weights_find_the_same_graphs(compiled: Compiled, folder: Path, compile_folder: Compile) -> None:
    from bowerbird.compiler.tensor_file import TensorReader, write_tensors

    finer = Path(shutil.copytree(compiled.checkpoint, folder / "finer"))
    weights = finer / "unet" / "diffusion_pytorch_model.safetensors"
    reader = TensorReader(weights)
    write_tensors(weights, {name: reader.read(name) * np.float32(0.9) for name in reader.facts}, {"format": "pt"})
    tuned = compile_folder(finer, folder / "tuned", lora=True)
    assert not [words for words in tuned.said if words.endswith("exporting")]
    assert tuned.bundle.manifest.files[WEIGHTS] != compiled.bundle.manifest.files[WEIGHTS]
    assert tuned.bundle.manifest.parity["denoiser"].max_abs_difference < 1e-3


@pytest.mark.parametrize(("precision", "bytes_per_weight"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_weights_are_kept_as_asked_and_the_gate_says_what_it_cost(
    compiled: Compiled, folder: Path, compile_folder: Compile, precision: str, bytes_per_weight: int
) -> None:
    from bowerbird.compiler.tensor_file import TensorReader

    kept = compile_folder(compiled.checkpoint, folder / precision, precision=precision)
    assert kept.bundle.manifest.precision == precision
    weights = TensorReader(kept.bundle.path(WEIGHTS))
    matrix = weights.facts["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"]
    assert matrix.bytes == bytes_per_weight * np.prod(matrix.shape)
    cost = kept.bundle.manifest.parity["denoiser"].rounding_psnr_db
    assert (cost == 99) == (precision == "fp32")
    assert cost >= 30


def test_a_precision_that_costs_too_much_is_refused_with_the_figure(
    compiled: Compiled, folder: Path, compile_folder: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bowerbird.compiler import parity

    monkeypatch.setattr(parity, "ROUNDING_TOLERANCE_DB", 90.0)
    with pytest.raises(parity.BundleDiffers, match=r"text_encoder answers to \d+\.\d dB PSNR; at least 90"):
        compile_folder(compiled.checkpoint, folder / "coarse", precision="int8")
    assert not (folder / "coarse").exists()


def test_another_sampler_is_taken_when_it_is_named(compiled: Compiled, folder: Path, compile_folder: Compile) -> None:
    euler = compile_folder(compiled.checkpoint, folder / "euler", sampler="EulerDiscreteScheduler")
    assert euler.bundle.drawing.sampler == "EulerDiscreteScheduler"
    assert euler.bundle.manifest.configs["scheduler"]["prediction_type"] == "v_prediction"
    assert euler.bundle.manifest.picture_parity is not None
    with pytest.raises(CheckpointUnsupported, match="diffusers has no scheduler Heun"):
        compile_folder(compiled.checkpoint, folder / "none", sampler="Heun")


def test_whole_pictures_are_compared_where_that_is_quick_or_asked_for(
    compiled: Compiled, folder: Path, compile_folder: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bowerbird.compiler import compiling

    monkeypatch.setattr(compiling, "MAX_PICTURES_SECONDS", 0.0)
    quick = compile_folder(compiled.checkpoint, folder / "quick")
    assert quick.bundle.manifest.picture_parity is None
    assert [words for words in quick.said if words.startswith("whole pictures: not compared")]
    full = compile_folder(compiled.checkpoint, folder / "full", thorough=True)
    assert full.bundle.manifest.picture_parity is not None


def test_a_size_that_the_unet_cannot_halve_is_refused(folder: Path, compile_folder: Compile) -> None:
    checkpoint = write_checkpoint(folder / "halving", SHAPES["small-sd"])
    with pytest.raises(CheckpointUnsupported, match="18x16 cannot be drawn: the sides must be multiples of 4"):
        compile_folder(checkpoint, folder / "odd", sizes=(Size(width=18, height=16),))


def test_diffusers_loads_what_restore_writes_and_it_holds_the_same_weights(compiled: Compiled, folder: Path) -> None:
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
            model_class.from_pretrained(each / name).state_dict() for each in (compiled.checkpoint, restored)
        )
        assert set(before) == set(after)
        for key, value in before.items():
            np.testing.assert_allclose(after[key].float().numpy(), value.numpy(), rtol=1e-3, atol=1e-6)
    assert DDIMScheduler.from_pretrained(restored / "scheduler").config["prediction_type"] == "v_prediction"
    assert json.loads((restored / "lineage.json").read_text())["restored_from"] == compiled.bundle.digest
    with pytest.raises(FileExistsError):
        restore(compiled.bundle, restored)


def test_a_restored_checkpoint_of_two_encoders_compiles_to_the_same_files(
    family: Callable[[str], Compiled], folder: Path, compile_folder: Compile
) -> None:
    bundle = family("small-sdxl").bundle
    restore(bundle, folder / "restored-xl")
    index = json.loads((folder / "restored-xl" / "model_index.json").read_text())
    assert (index["_class_name"], index["force_zeros_for_empty_prompt"]) == ("StableDiffusionXLPipeline", True)
    assert {"text_encoder_2", "tokenizer_2"} <= set(index)
    again = compile_folder(folder / "restored-xl", folder / "again-xl")
    assert not [words for words in again.said if words.endswith("exporting")]
    assert again.bundle.manifest.files == bundle.manifest.files


def test_a_restored_tokenizer_pads_again(compiled: Compiled, folder: Path) -> None:
    restore(compiled.bundle, folder / "round")
    facts = []
    for name in ("once", "again"):
        (folder / name).mkdir(exist_ok=True)
        source = Checkpoint(compiled.checkpoint if name == "once" else folder / "round")
        facts.append(read_tokenizers(source, family_of(source), folder / name))
    assert facts[0] == facts[1]
    written = [(folder / name / "tokenizer.json").read_bytes() for name in ("once", "again")]
    assert written[0] == written[1]


def test_a_part_that_answers_differently_stops_the_compile(compiled: Compiled) -> None:
    from bowerbird.compiler.parity import BundleDiffers, Reference, compare_part, usual_question
    from bowerbird.compiler.parts import DECODER, Shapes

    shapes = Shapes(tokens=8, vocabulary=10, latent_channels=4, latent_height=4, latent_width=4, downscale=2)
    question = usual_question(DECODER, shapes)
    session = CpuBackend(threads=1).load(compiled.bundle.path("decoder.onnx"))
    wrong = {"pictures": question.put(session.run)["pictures"] + np.float32(0.01)}
    with pytest.raises(BundleDiffers, match=r"^decoder differs from the checkpoint by 1\.00e-02 \(tolerance"):
        compare_part(DECODER, session, [Reference(question, wrong, wrong)])


@pytest.mark.parametrize(
    ("role", "side", "rows"), [("decoder", 64, [3]), ("decoder", 128, [1] * 3), ("denoiser", 128, [2, 1])]
)
def test_of_large_pictures_few_at_a_time_are_in_memory(role: str, side: int, rows: list[int]) -> None:
    from bowerbird.compiler.parity import usual_question
    from bowerbird.compiler.parts import DECODER, Shapes

    shapes = Shapes(tokens=8, vocabulary=10, latent_channels=4, latent_height=side, latent_width=side, downscale=8)
    question = usual_question(replace(DECODER, role=role), shapes)
    calls: list[int] = []

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        calls.append(len(inputs["latents"]))
        return {"pictures": inputs["latents"]}

    assert np.array_equal(question.put(run)["pictures"], question.inputs()["latents"])
    assert calls == rows


def changed(checkpoint: Path, target: Path, file: str, **facts: Any) -> Path:
    """A copy of a checkpoint with other facts in one of its JSON files."""
    shutil.copytree(checkpoint, target)
    document = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(document | facts))
    return target


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (
            ("model_index.json", {"unet": ["diffusers", "SD3Transformer2DModel"]}),
            "unet is a SD3Transformer2DModel; this",
        ),
        (("model_index.json", {"vae": None}), "names no vae"),
        (("scheduler/scheduler_config.json", {"clip_sample": True}), "DDIMScheduler with 1 steps is not of the form"),
        (("unet/config.json", {"class_embed_type": "timestep"}), "The unet reads class labels"),
        (("unet/config.json", {"in_channels": 9}), "reads 9 channels and answers 4: one for inpainting"),
        (("unet/config.json", {"addition_embed_type": "image"}), "additional embeddings of type image"),
        (("unet/config.json", {"addition_embed_type": "text_time"}), "has no text_encoder_2"),
        (("text_encoder/config.json", {"use_attention_mask": True}), "masks its padding"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_leaves_nothing(
    checkpoint_folder: Path, tmp_path: Path, compile_folder: Compile, change: tuple[str, dict[str, Any]], refusal: str
) -> None:
    checkpoint = changed(checkpoint_folder, tmp_path / "checkpoint", change[0], **change[1])
    with pytest.raises(CheckpointUnsupported, match=refusal):
        compile_folder(checkpoint, tmp_path / "bundle")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_pickled_weights_are_not_read(checkpoint_folder: Path, tmp_path: Path, compile_folder: Compile) -> None:
    checkpoint = Path(shutil.copytree(checkpoint_folder, tmp_path / "checkpoint"))
    weights = checkpoint / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointUnsupported, match="unet holds no safetensors"):
        compile_folder(checkpoint, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnsupported, match=r"model_index\.json is not a readable JSON file"):
        Checkpoint(tmp_path)


def test_a_bundle_is_the_same_wherever_it_lies(compiled: Compiled, tmp_path: Path) -> None:
    moved = shutil.copytree(compiled.bundle.folder, tmp_path / "moved")
    assert Bundle.open(Path(moved)).digest == compiled.bundle.digest
