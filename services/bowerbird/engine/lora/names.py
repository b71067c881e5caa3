"""What the tensors of a LoRA file are called, and which module of the bundle each belongs to.

`files` asks `Names.find` for every tensor. Trainers spell one module in many ways:

    unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight            PEFT, diffusers today
    unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight         diffusers
    unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight     diffusers until 2023
    lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight    kohya sd-scripts
    lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight              kohya, original SDXL layout
    text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight  diffusers
    lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight                   kohya

kohya's names have underscores for dots, so dots cannot be told apart from underscores anyway: every name is brought to
underscores, and the modules of the bundle are looked up by the few spellings that each can have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bowerbird.engine.bundle import Bundle, LoraBank

Kind = Literal["down", "up", "alpha"]

SUFFIX = re.compile(
    r"(?:[._]lora\.(?P<diffusers>down|up)\.weight"
    r"|\.lora_linear_layer\.(?P<clip>down|up)\.weight"
    r"|\.lora_(?P<kohya>down|up)\.weight"
    r"|\.lora_(?P<peft>[AB])(?:\.default)?\.weight"
    r"|\.(?P<alpha>alpha))$"
)
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("lora_unet_", "unet_", ""),
    "text_encoder": ("lora_te_", "lora_te1_", "text_encoder_"),
    "text_encoder_2": ("lora_te2_", "text_encoder_2_"),
}
"""By component; a file without any prefix is a UNet's (`UNet2DConditionModel.save_lora_adapter`)."""

CLIP_PROJECTIONS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
"""diffusers until 2023 called CLIP's projections as it calls a UNet's."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a pair of matrices belongs: layer `index` of `bank` of `role`. One object per module."""

    role: str
    bank: LoraBank
    index: int

    @property
    def module(self) -> str:
        """The module's path within its component."""
        return self.bank.modules[self.index]


class Names:
    """Every spelling of every module that takes LoRAs in a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._targets: dict[str, Target] = {}
        self.components: dict[str, str] = {}
        for role, banks in bundle.manifest.lora.items():
            component = bundle.part(role).component
            self.components[role] = component
            config = bundle.manifest.configs.get(component, {})
            for bank in banks:
                for index, module in enumerate(bank.modules):
                    target = Target(role, bank, index)
                    self._targets |= dict.fromkeys(_spellings(component, module, config), target)

    def max_bytes(self, rank: int) -> int:
        """What a file takes at most that holds every module once, at this rank, in float32."""
        banks = {id(target.bank): target.bank for target in self._targets.values()}.values()
        return sum(4 * rank * (bank.in_features + bank.out_features) * len(bank.modules) for bank in banks)

    def find(self, key: str) -> tuple[Target, Kind] | None:
        """The module and what of it a tensor is; None for what this bundle has no place for."""
        suffix = SUFFIX.search(key)
        target = self._targets.get(_underscored(key[: suffix.start()])) if suffix else None
        if suffix is None or target is None:
            return None
        (word,) = (word for word in suffix.groups() if word)
        return target, _KINDS[word]


_KINDS: Mapping[str, Kind] = {"down": "down", "A": "down", "up": "up", "B": "up", "alpha": "alpha"}


def _underscored(name: str) -> str:
    return name.replace(".", "_")


def _spellings(component: str, module: str, config: Mapping[str, Any]) -> Iterator[str]:
    for prefix in PREFIXES.get(component, (f"lora_{component}_", f"{component}_")):
        for path in (*_processor_paths(module), *_clip_paths(module), *_original_paths(module, config)):
            yield prefix + _underscored(path)


def _processor_paths(module: str) -> Iterator[str]:
    """The path itself, and that of a UNet's attention when LoRAs were attention processors."""
    yield module
    attention, to, projection = module.rpartition(".to_")
    if to:
        yield f"{attention}.processor.to_{projection.removesuffix('.0')}"


def _clip_paths(module: str) -> Iterator[str]:
    """CLIP's own path with and without `text_model`, which transformers 5 dropped from it, and diffusers' old names."""
    attention, _, projection = module.rpartition(".")
    bare = module.removeprefix("text_model.")
    if not bare.startswith("encoder.layers."):
        return
    yield bare
    yield f"text_model.{bare}"
    if projection in CLIP_PROJECTIONS:
        yield f"text_model.{attention.removeprefix('text_model.')}.{CLIP_PROJECTIONS[projection]}"


def _original_paths(module: str, config: Mapping[str, Any]) -> Iterator[str]:
    """The path in Stability AI's own layout of a UNet, in which kohya trains SDXL.

    There `input_blocks` counts the first convolution, then every layer and the downsampling of every level;
    `output_blocks` every layer, of which a level has one more. Within a block, the transformer comes second.
    """
    found = re.fullmatch(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?attentions\.(\d+)\.(.+)", module)
    layers = config.get("layers_per_block")
    if not found or not isinstance(layers, int):
        return
    half, level, layer, rest = found[1], int(found[2] or 0), int(found[3]), found[4]
    if half == "mid":
        yield f"middle_block.1.{rest}"
        return
    start, blocks = (1, "input_blocks") if half == "down" else (0, "output_blocks")
    yield f"{blocks}.{start + level * (layers + 1) + layer}.1.{rest}"
