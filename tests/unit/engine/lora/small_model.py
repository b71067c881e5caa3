"""What LoRA files are tried against: the manifest of a model of a few layers, and files for it in every dialect."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from bowerbird.engine.backend import Array, Floats
from bowerbird.engine.bundle import Bundle, FileFacts, LoraBank, Manifest, PartFacts, Port

DOWN = "down_blocks.1.attentions.0.transformer_blocks.0"
MID = "mid_block.attentions.0"
UP = "up_blocks.0.attentions.2.transformer_blocks.0"
LAYER = "encoder.layers.0"

BANKS = {
    "denoiser": [
        LoraBank(name="6_to_8", in_features=6, out_features=8, modules=[f"{DOWN}.attn2.to_k", f"{UP}.attn2.to_v"]),
        LoraBank(
            name="8_to_8",
            in_features=8,
            out_features=8,
            modules=[f"{DOWN}.attn1.to_q", f"{DOWN}.attn1.to_out.0", f"{MID}.proj_in"],
        ),
        LoraBank(name="8_to_20", in_features=8, out_features=20, modules=[f"{UP}.ff.net.0.proj"]),
    ],
    "text_encoder": [
        LoraBank(
            name="4_to_4",
            in_features=4,
            out_features=4,
            modules=[f"{LAYER}.self_attn.q_proj", f"{LAYER}.self_attn.out_proj"],
        ),
        LoraBank(name="4_to_7", in_features=4, out_features=7, modules=[f"{LAYER}.mlp.fc1"]),
    ],
    "text_encoder_2": [
        LoraBank(name="5_to_5", in_features=5, out_features=5, modules=[f"text_model.{LAYER}.self_attn.k_proj"])
    ],
}
COMPONENTS = {"denoiser": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}

Module = tuple[str, str]
"""Role and path."""
Matrices = Mapping[Module, tuple[Floats, Floats]]
"""Down and up."""
ALL: tuple[Module, ...] = tuple(
    (role, path) for role, banks in BANKS.items() for bank in banks for path in bank.modules
)
KOHYA_PREFIX = {"denoiser": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
ORIGINAL = {
    "down_blocks_1_attentions_0": "input_blocks_4_1",
    "mid_block_attentions_0": "middle_block_1",
    "up_blocks_0_attentions_2": "output_blocks_2_1",
}


def small_bundle(dtype: Any = "float32", banks: Mapping[str, list[LoraBank]] = BANKS) -> Bundle:
    """A bundle that nobody wrote: a shelf and banks ask for its manifest only."""
    parts = {}
    for role, listed in banks.items():
        parts[role] = _part(role, [])
        parts[f"{role}_lora"] = _part(role, [port for bank in listed for port in _ports(bank, dtype)])
    manifest = Manifest.model_validate(
        {
            "format": Manifest.model_fields["format"].annotation.__args__[0],  # type: ignore[union-attr]
            "name": "small",
            "version": "1",
            "licence": "Apache-2.0",
            "created": 0,
            "lineage": {},
            "files": {"graph.onnx": FileFacts(sha256=f"sha256:{'0' * 64}", bytes=0)},
            "parts": parts,
            "configs": {"unet": {"layers_per_block": 2}, "text_encoder": {}, "text_encoder_2": {}},
            "lora": dict(banks),
            "parity": {},
            "compiled_with": {},
        }
    )
    return Bundle(Path("nowhere"), manifest, "")


def _part(role: str, inputs: list[Port]) -> PartFacts:
    return PartFacts(graph="graph.onnx", inputs=inputs, outputs=[], component=COMPONENTS[role], model_class="Small")


def _ports(bank: LoraBank, dtype: Any) -> list[Port]:
    layers = len(bank.modules)
    return [
        Port(name=f"lora_{bank.name}_down", dtype=dtype, shape=["slots", layers, "rank", bank.in_features]),
        Port(name=f"lora_{bank.name}_up", dtype=dtype, shape=["slots", layers, bank.out_features, "rank"]),
    ]


def bank_of(module: Module) -> LoraBank:
    """The bank that a module is in."""
    role, path = module
    return next(bank for bank in BANKS[role] if path in bank.modules)


def matrices(seed: int, rank: int, modules: tuple[Module, ...] = ALL) -> dict[Module, tuple[Floats, Floats]]:
    """Random ones that fp16 keeps exactly."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> Floats:
        return generator.standard_normal(shape).astype(np.float16).astype(np.float32)

    return {
        module: (draw(rank, bank_of(module).in_features), draw(bank_of(module).out_features, rank))
        for module in modules
    }


Keys = Callable[[Module], tuple[str, str]]
"""The names of a module's down and up matrices."""


def peft(module: Module) -> tuple[str, str]:
    """PEFT, and diffusers today."""
    stem = f"{COMPONENTS[module[0]]}.{module[1]}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def diffusers(module: Module) -> tuple[str, str]:
    """diffusers in 2024: `lora.down` in the UNet, `lora_linear_layer` in CLIP."""
    role, path = module
    stem = f"{COMPONENTS[role]}.{path}.{'lora' if role == 'denoiser' else 'lora_linear_layer'}"
    return f"{stem}.down.weight", f"{stem}.up.weight"


def processors(module: Module) -> tuple[str, str]:
    """diffusers until 2023: LoRAs were attention processors; CLIP's projections had a UNet's names."""
    role, path = module
    stem, _, projection = path.rpartition(".")
    if role == "denoiser" and "attn" in path:
        stem, _, projection = path.partition(".to_")
        stem = f"unet.{stem}.processor.to_{projection.removesuffix('.0')}_lora"
    elif role != "denoiser" and "self_attn" in path:
        old = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}[projection]
        stem = f"{COMPONENTS[role]}.text_model.{stem.removeprefix('text_model.')}.{old}_lora"
    else:
        return diffusers(module)
    return f"{stem}.down.weight", f"{stem}.up.weight"


def kohya(module: Module) -> tuple[str, str]:
    """kohya's sd-scripts."""
    role, path = module
    if role != "denoiser":
        path = f"text_model.{path.removeprefix('text_model.')}"
    stem = KOHYA_PREFIX[role] + path.replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"


def kohya_original(module: Module) -> tuple[str, str]:
    """kohya's SDXL, whose UNet has Stability AI's layout."""
    down, up = kohya(module)
    for ours, theirs in ORIGINAL.items():
        down, up = down.replace(ours, theirs), up.replace(ours, theirs)
    return down, up


DIALECTS: tuple[Keys, ...] = (peft, diffusers, processors, kohya, kohya_original)


def tensors(given: Matrices, keys: Keys = peft, dtype: Any = np.float32) -> dict[str, Array]:
    """A file's content."""
    content: dict[str, Array] = {}
    for module, pair in given.items():
        content |= {key: matrix.astype(dtype) for key, matrix in zip(keys(module), pair, strict=True)}
    return content


def write(folder: Path, lora_id: str, content: Mapping[str, Array], metadata: dict[str, str] | None = None) -> Path:
    """Writes `<id>.safetensors` as a mount does it: whole, under another name, then renamed."""
    path, whole = folder / f"{lora_id}.safetensors", folder / f".{lora_id}.new"
    save_file(dict(content), whole, metadata)
    return whole.rename(path)


def write_bfloat16(folder: Path, lora_id: str, content: Mapping[str, Array]) -> Path:
    """NumPy has no bfloat16: the upper halves of float32."""
    halves = {name: (value.view("<u4") >> 16).astype("<u2").tobytes() for name, value in content.items()}
    header, offset = {}, 0
    for name, half in halves.items():
        end = offset + len(half)
        header[name] = {"dtype": "BF16", "shape": content[name].shape, "data_offsets": [offset, end]}
        offset = end
    path = folder / f"{lora_id}.safetensors"
    path.write_bytes(raw(header, b"".join(halves.values())))
    return path


def raw(header: Mapping[str, Any], data: bytes) -> bytes:
    """The bytes of a safetensors file, however wrong its header is."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
