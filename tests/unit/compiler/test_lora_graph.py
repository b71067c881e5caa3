"""A graph with LoRA inputs computes what a model with merged weights computes, row by row, from the trainer's file."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from bowerbird.engine.backend import Array, Session
from bowerbird.engine.backends.cpu import CpuBackend, CpuSession, HostArray
from bowerbird.engine.bundle import Bundle, FileFacts, LoraBank, Manifest, PartFacts, Port
from bowerbird.engine.lora.banks import LoraBanks
from bowerbird.engine.lora.names import Names
from bowerbird.engine.lora.shelf import LoraShelf

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")

from safetensors.torch import save_file  # noqa: E402
from torch.export import Dim  # noqa: E402

from bowerbird.compiler import modules  # noqa: E402
from bowerbird.compiler.lora_graph import lora_part  # noqa: E402
from bowerbird.compiler.parts import Part, Shapes  # noqa: E402

BATCH = {0: "batch"}
SHAPES = Shapes(tokens=6, vocabulary=20, text_width=12, latent_channels=4, latent_height=4, latent_width=6)
DIMS = {"batch": (1, 64), "loras": (1, 4), "slots": (2, 65), "rank": (1, 64)}


def unet(**different: Any) -> Any:
    """A UNet with one transformer, in its middle, unless something else is asked for."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    usual = {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16,),
        "layers_per_block": 1,
        "cross_attention_dim": SHAPES.text_width,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
    }
    return UNet2DConditionModel(**usual | different).eval()


def clip(layers: int = 1, **different: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    usual = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "max_position_embeddings": 6}
    ids = {"vocab_size": SHAPES.vocabulary, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    return CLIPTextModel(CLIPTextConfig(num_hidden_layers=layers, **usual | ids | different)).eval()


def _noisy(shapes: Shapes, rows: int, generator: Any) -> tuple[Any, ...]:
    sample = torch.randn(rows, shapes.latent_channels, shapes.latent_height, shapes.latent_width, generator=generator)
    states = torch.randn(rows, shapes.tokens, shapes.text_width, generator=generator)
    return sample, torch.linspace(999, 20, rows).round(), states


def _token_ids(shapes: Shapes, rows: int, generator: Any) -> tuple[Any, ...]:
    return (torch.randint(shapes.vocabulary, (rows, shapes.tokens), generator=generator),)


DENOISER = Part(
    "denoiser",
    modules.Denoiser,
    ("sample", "timestep", "states"),
    ("output",),
    _noisy,
    dict.fromkeys(("sample", "timestep", "states"), BATCH),
)
TEXT_ENCODER = Part("text_encoder", modules.LastStates, ("token_ids",), ("states",), _token_ids, {"token_ids": BATCH})
COMPONENTS = {"denoiser": "unet", "text_encoder": "text_encoder"}


def bundle_of(role: str, part: Part, banks: list[LoraBank], config: dict[str, Any]) -> Bundle:
    """A bundle of one component, of which only the manifest exists."""
    ports = [
        Port(name=f"lora_{bank.name}_{which}", dtype="float32", shape=["slots"])
        for bank in banks
        for which in ("down", "up")
    ]
    each = {"graph": "g.onnx", "outputs": [], "component": COMPONENTS[role], "model_class": "Small"}
    manifest = Manifest.model_validate(
        {
            "format": Manifest.model_fields["format"].annotation.__args__[0],  # type: ignore[union-attr]
            **{"name": "small", "version": "1", "licence": "Apache-2.0", "created": 0, "lineage": {}},
            "files": {"g.onnx": FileFacts(sha256=f"sha256:{'0' * 64}", bytes=0)},
            "parts": {role: PartFacts(inputs=[], **each), part.role: PartFacts(inputs=ports, **each)},
            "configs": {COMPONENTS[role]: config},
            "lora": {role: banks},
            "parity": {},
            "compiled_with": {},
        }
    )
    return Bundle(Path("nowhere"), manifest, "")


def trained(component: Any, banks: list[LoraBank], seed: int, rank: int) -> dict[str, tuple[Any, Any, float]]:
    """Down, up and alpha of each module, as a trainer might leave them: some left out, alpha not the rank."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for bank in banks:
        for path in bank.modules:
            down = torch.randn(rank, bank.in_features, generator=generator) / bank.in_features**0.5
            up = torch.randn(bank.out_features, rank, generator=generator) / rank**0.5
            found[path] = (down, up, float(torch.randint(1, 2 * rank + 1, (1,), generator=generator)))
    left_out = sorted(found)[seed % 3 :: 3]
    return {path: pair for path, pair in found.items() if path not in left_out}


def written(folder: Path, name: str, prefix: str, lora: dict[str, tuple[Any, Any, float]]) -> None:
    """As kohya's sd-scripts write it."""
    content: dict[str, Any] = {}
    for path, (down, up, alpha) in lora.items():
        stem = prefix + path.replace(".", "_")
        content |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(alpha),
        }
    save_file(content, folder / f"{name}.safetensors")


def merged(component: Any, uses: list[tuple[dict[str, tuple[Any, Any, float]], float]]) -> Any:
    """A copy whose weights are W + weight * alpha / rank * up @ down: what fusing LoRAs means everywhere."""
    fused = copy.deepcopy(component)
    with torch.no_grad():
        for lora, weight in uses:
            for path, (down, up, alpha) in lora.items():
                module = fused.get_submodule(path)
                change = weight * alpha / len(down) * (up @ down)
                module.weight += change.reshape(module.weight.shape)
    return fused


def answer(module: Any, inputs: tuple[Any, ...]) -> Array:
    with torch.inference_mode():
        result = module(*inputs)
    output: Array = (result if isinstance(result, torch.Tensor) else result[0]).numpy()
    return output


class TorchSession:
    """The module itself where its graph would be."""

    def __init__(self, module: Any, names: tuple[str, ...]) -> None:
        self._module = module
        self._names = names

    def run(self, inputs: dict[str, Any]) -> dict[str, Array]:
        arrays = (inputs[name].array if isinstance(inputs[name], HostArray) else inputs[name] for name in self._names)
        return {"output": answer(self._module, tuple(torch.from_numpy(array) for array in arrays))}


def exported(part: Part, component: Any, path: Path) -> Session:
    dims = {name: Dim(name, min=low, max=high) for name, (low, high) in DIMS.items()}
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr("warnings.warn", lambda *_, **__: None)  # the exporter's, about its own insides
        program = torch.onnx.export(
            part.wrap(component),
            part.examples(SHAPES, 2, torch.Generator().manual_seed(0)),
            None,
            dynamo=True,
            opset_version=23,
            input_names=list(part.inputs),
            output_names=["output"],
            dynamic_shapes=tuple({at: dims[name] for at, name in part.free[port].items()} for port in part.inputs),
            verbose=False,
        )
    program.save(path)
    return CpuSession(ort.InferenceSession(path, providers=["CPUExecutionProvider"]))


def assert_rows_are_merged_models(plain: Part, component: Any, tmp_path: Path, *, onnx: bool) -> None:
    """Five rows, each with other LoRAs from files, in one batch; each equals its own merged model."""
    part, banks = lora_part(plain, component)
    session: Any = TorchSession(part.wrap(component).eval(), part.inputs)
    if onnx:
        session = exported(part, component, tmp_path / "graph.onnx")
    bundle = bundle_of(plain.role, part, banks, {})
    shelf = LoraShelf(tmp_path, bundle)
    loras = {
        name: trained(component, banks, seed, rank)
        for seed, (name, rank) in enumerate({"a": 3, "b": 8, "c": 1}.items())
    }
    for name, lora in loras.items():
        written(tmp_path, name, {"denoiser": "lora_unet_", "text_encoder": "lora_te_"}[plain.role], lora)
    rows: list[list[tuple[str, float]]] = [
        [("a", 1.0)],
        [],
        [("b", -0.5), ("c", 2.0), ("a", 0.25)],
        [("c", 1.0)],
        [("a", 0.5)],
    ]
    held = LoraBanks(bundle, CpuBackend(threads=1), slots=6)
    acquired = [held.acquire([(shelf.find(name), weight) for name, weight in row]) if row else None for row in rows]
    inputs = plain.examples(SHAPES, len(rows), torch.Generator().manual_seed(3))
    named = dict(zip(plain.inputs, (each.numpy() for each in inputs), strict=True))
    ours = session.run({**named, **held.inputs(plain.role, acquired)})["output"]
    untouched = answer(plain.wrap(component), inputs)
    for number, row in enumerate(rows):
        uses = [(loras[name], weight) for name, weight in row]
        theirs = answer(plain.wrap(merged(component, uses)), tuple(each[number : number + 1] for each in inputs))
        np.testing.assert_allclose(ours[number], theirs[0], atol=1e-4 * max(1.0, float(np.abs(theirs).max())))
        moved = np.abs(ours[number] - untouched[number]).max()
        assert moved > 0.01 if row else moved < 1e-5


UNETS = {
    "SD 1.5": functools.partial(unet),
    "SDXL": functools.partial(unet, use_linear_projection=True, transformer_layers_per_block=2),
    "wide": functools.partial(
        unet,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ),
}


@pytest.mark.parametrize("family", UNETS)
def test_rows_of_a_unet_are_those_of_merged_models(family: str, tmp_path: Path) -> None:
    assert_rows_are_merged_models(DENOISER, UNETS[family](), tmp_path, onnx=False)


def test_rows_of_a_text_encoder_are_those_of_merged_models(tmp_path: Path) -> None:
    assert_rows_are_merged_models(TEXT_ENCODER, clip(layers=2), tmp_path, onnx=False)


def test_an_exported_graph_does_the_same(tmp_path: Path) -> None:
    """Traced with three LoRAs of rank 4 in five slots, run with four of rank 8 in seven; `compile` compares UNets."""
    assert_rows_are_merged_models(TEXT_ENCODER, clip(), tmp_path, onnx=True)


def test_the_component_stays_as_it_was() -> None:
    component = unet()
    before = {name: value.clone() for name, value in component.state_dict().items()}
    part, _ = lora_part(DENOISER, component)
    module = part.wrap(component)
    examples = part.examples(SHAPES, 2, torch.Generator().manual_seed(0))
    plain = answer(DENOISER.wrap(component), examples[:3])
    assert np.abs(answer(module, examples) - plain).max() > 0.01
    np.testing.assert_array_equal(answer(DENOISER.wrap(component), examples[:3]), plain)
    assert not any(each._forward_hooks for each in component.modules())
    own = {id(value) for value in component.parameters()}
    assert {id(value) for value in module.parameters()} == own
    for name, value in component.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_ports_follow_those_of_the_plain_part() -> None:
    part, banks = lora_part(DENOISER, unet())
    assert part.role == "denoiser_lora"
    assert part.inputs[:5] == (*DENOISER.inputs, "lora_slots", "lora_weights")
    assert part.inputs[5:] == tuple(f"lora_{bank.name}_{which}" for bank in banks for which in ("down", "up"))
    assert part.outputs == DENOISER.outputs
    assert part.free["sample"] == BATCH
    assert part.free["lora_slots"] == part.free["lora_weights"] == {0: "batch", 1: "loras"}
    assert part.free[part.inputs[5]] == {0: "slots", 2: "rank"}
    assert part.free[part.inputs[6]] == {0: "slots", 3: "rank"}
    for bank, down, up in zip(banks, *[iter(part.examples(SHAPES, 2, torch.Generator())[5:])] * 2, strict=True):
        assert down.shape[1::2] == (len(bank.modules), bank.in_features)
        assert up.shape[1:3] == (len(bank.modules), bank.out_features)
        assert not down[0].any()
        assert not up[0].any()


def test_a_component_without_such_layers_has_no_banks() -> None:
    from diffusers import AutoencoderTiny

    decoder = Part("decoder", modules.Decoder, ("latents",), ("pictures",), _noisy, {"latents": BATCH})
    assert lora_part(decoder, AutoencoderTiny())[1] == []


# --- the names: diffusers' own conversions must bring every spelling of ours to the module that we mean


@functools.cache
def sdxl() -> tuple[Any, list[LoraBank]]:
    """SDXL's structure, narrow."""
    component = unet(
        block_out_channels=(8, 16, 32),
        layers_per_block=2,
        norm_num_groups=4,
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2, 3),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    return component, lora_part(DENOISER, component)[1]


def paths_of(banks: list[LoraBank]) -> set[str]:
    return {path for bank in banks for path in bank.modules}


def test_every_layer_that_trainers_touch_is_in_a_bank() -> None:
    component, banks = sdxl()
    linear = {
        name
        for name, module in component.named_modules()
        if ".attentions." in name and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
    assert paths_of(banks) == linear
    text = clip(layers=2)
    layers = {n for n, m in text.named_modules() if isinstance(m, torch.nn.Linear)}
    assert paths_of(lora_part(TEXT_ENCODER, text)[1]) == layers


def test_kohyas_original_layout_is_read_as_diffusers_reads_it() -> None:
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    component, banks = sdxl()
    part, _ = lora_part(DENOISER, component)
    names = Names(bundle_of("denoiser", part, banks, dict(component.config)))
    stems = [s for s in names._targets if s.startswith(("lora_unet_input", "lora_unet_middle", "lora_unet_output"))]
    assert len(stems) == len(paths_of(banks))
    for stem in stems:
        keys = {f"{stem}.lora_down.weight": torch.zeros(1), f"{stem}.lora_up.weight": torch.zeros(1)}
        blocks = _maybe_map_sgm_blocks_to_diffusers(dict(keys), component.config)
        theirs = convert_unet_state_dict_to_peft(_convert_non_diffusers_lora_to_diffusers(blocks)[0])
        found = names.find(f"{stem}.lora_down.weight")
        assert found is not None
        assert f"unet.{found[0].module}.lora_A.weight" in theirs


def test_what_diffusers_writes_in_any_of_its_forms_is_found() -> None:
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya

    for role, component, plain in (("denoiser", sdxl()[0], DENOISER), ("text_encoder", clip(), TEXT_ENCODER)):
        part, banks = lora_part(plain, component)
        names = Names(bundle_of(role, part, banks, {"layers_per_block": 2}))
        for path in paths_of(banks):
            today = {f"{COMPONENTS[role]}.{path}.lora_{which}.weight": torch.zeros(2, 2) for which in "AB"}
            for form in (lambda keys: keys, convert_state_dict_to_diffusers, convert_state_dict_to_kohya):
                for key in form(dict(today)):
                    found = names.find(key)
                    assert found is not None, key
                    assert found[0].module == path
