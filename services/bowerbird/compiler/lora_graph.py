"""A part that takes LoRAs as inputs: the same ports, and banks of low-rank matrices that each row picks from.

`compiling` calls `lora_part` for a UNet and for CLIP text encoders. A LoRA (Hu et al., 2022) adds `up (down x)` to what
a linear layer answers. Here it stays beside the weights instead of being merged into them, so that the rows of one
batch can carry different ones and a change of LoRA is a copy of some megabytes:

    out = W x + sum over l of lora_weights[l] * up[lora_slots[l], layer] (down[lora_slots[l], layer] x)

Layers of one shape share a bank, `lora_<name>_down` [slots, layers, rank, in] and `lora_<name>_up` [slots, layers,
out, rank]: one input per matrix would cost more in handing them over than in computing with them. Per bank and run the
rows' slots are gathered once, several LoRAs of a row stand side by side in the rank, and each layer then pays for two
small products.

The component itself is not altered (hooks stand for the time of one forward), so its plain part can be exported
before or after, and both graphs find the same weights under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import nn

from bowerbird.compiler.parts import Part, Shapes, Tensors
from bowerbird.engine.bundle import LoraBank

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
TRANSFORMER = ("proj_in", "proj_out")
CLIP_LAYER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
TOUCHED = ATTENTION + FEED_FORWARD + TRANSFORMER + CLIP_LAYER
"""Ends of the paths of the layers that trainers of LoRAs touch unless told otherwise (diffusers, PEFT, kohya).

3x3 convolutions and time embeddings, which a few touch (LCM-LoRA, LoCon), stay out: every batch with any LoRA would
pay for them.
"""

# Unequal, so that the exporter takes none of them for another.
EXAMPLE_LORAS, EXAMPLE_SLOTS, EXAMPLE_RANK = 3, 5, 4


@dataclass(frozen=True, slots=True)
class _Layer:
    module: nn.Module
    bank: int
    index: int


def lora_part(part: Part, component: Any) -> tuple[Part, list[LoraBank]]:
    """The part with LoRA inputs, its role `<role>_lora`, and what its banks hold; no banks where no layer takes LoRAs.

    The new inputs follow the old ones: `lora_slots` int64 and `lora_weights` float32, both [batch, loras], then down
    and up of each bank. Slot 0 must be zeros: it means "none". Free besides what was free: loras, slots, rank.
    """
    banks = _banks(component)
    matrices = [name for bank in banks for name in (f"lora_{bank.name}_down", f"lora_{bank.name}_up")]
    inputs = (*part.inputs, "lora_slots", "lora_weights", *matrices)
    by_row = {name: {0: "batch", 1: "loras"} for name in ("lora_slots", "lora_weights")}
    free = {**part.free, **by_row}
    for bank in banks:
        free[f"lora_{bank.name}_down"] = {0: "slots", 2: "rank"}
        free[f"lora_{bank.name}_up"] = {0: "slots", 3: "rank"}
    wrapped = replace(
        part,
        role=f"{part.role}_lora",
        wrap=lambda component: _WithLora(part.wrap(component), _layers(component, banks), inputs),
        inputs=inputs,
        free=free,
        examples=partial(_examples, part, banks),
    )
    return wrapped, banks


def _banks(component: nn.Module) -> list[LoraBank]:
    """One bank per shape, the layers in the component's order."""
    shapes: dict[tuple[int, int], list[str]] = {}
    for path, module in component.named_modules():
        shape = _shape(path, module)
        if shape is not None:
            shapes.setdefault(shape, []).append(path)
    return [
        LoraBank(name=f"{ins}_to_{outs}", in_features=ins, out_features=outs, modules=paths)
        for (ins, outs), paths in sorted(shapes.items())
    ]


def _shape(path: str, module: nn.Module) -> tuple[int, int] | None:
    """(in, out) of a layer that takes LoRAs."""
    if not f".{path}".endswith(tuple(f".{end}" for end in TOUCHED)):
        return None
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1) and module.groups == 1:
        return module.in_channels, module.out_channels
    return None


def _layers(component: nn.Module, banks: Sequence[LoraBank]) -> list[_Layer]:
    return [
        _Layer(component.get_submodule(path), number, index)
        for number, bank in enumerate(banks)
        for index, path in enumerate(bank.modules)
    ]


class _WithLora(nn.Module):
    """The plain module; while it runs, each touched layer adds what the row's LoRAs say."""

    def __init__(self, plain: nn.Module, layers: Sequence[_Layer], inputs: Sequence[str]) -> None:
        super().__init__()
        self.plain = plain
        self._layers = layers
        self._plain_inputs = inputs.index("lora_slots")
        self.forward = self._signed([Parameter(name, Parameter.POSITIONAL_ONLY) for name in inputs])

    def _signed(self, parameters: list[Parameter]) -> Callable[..., Any]:
        """`_forward` with the ports for a signature: the exporter takes `*inputs` for one input."""

        def forward(*inputs: torch.Tensor) -> Any:
            return self._forward(*inputs)

        forward.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return forward

    def _forward(self, *inputs: torch.Tensor) -> Any:
        plain, (slots, weights, *banks) = inputs[: self._plain_inputs], inputs[self._plain_inputs :]
        downs = [_gather_down(bank, slots) for bank in banks[::2]]
        ups = [_gather_up(bank, slots, weights) for bank in banks[1::2]]
        additions = {
            layer.module: partial(_add, downs[layer.bank][layer.index], ups[layer.bank][layer.index])
            for layer in self._layers
        }
        with _hooked(additions):
            return self.plain(*plain)


def _gather_down(bank: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """[slots, layers, rank, in] -> [layers, batch, loras * rank, in]."""
    rows = bank.index_select(0, slots.reshape(-1)).unflatten(0, slots.shape)
    return rows.permute(2, 0, 1, 3, 4).flatten(2, 3)


def _gather_up(bank: torch.Tensor, slots: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[slots, layers, out, rank] -> [layers, batch, out, loras * rank], times the weights."""
    rows = bank.index_select(0, slots.reshape(-1)).unflatten(0, slots.shape)
    weighted = rows * weights[:, :, None, None, None]
    return weighted.permute(2, 0, 3, 1, 4).flatten(3, 4)


def _add(
    down: torch.Tensor, up: torch.Tensor, _: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor
) -> torch.Tensor:
    """A layer's answer plus the LoRAs': linear over [batch, tokens, in], or a 1x1 convolution.

    `bmm` and not `@`, which the exporter takes apart into a dozen nodes of shapes per layer.
    """
    (x,) = inputs
    if x.ndim == 4:
        return output + torch.bmm(up, torch.bmm(down, x.flatten(2))).view_as(output)
    return output + torch.bmm(torch.bmm(x, down.transpose(1, 2)), up.transpose(1, 2))


@contextmanager
def _hooked(hooks: Mapping[nn.Module, Callable[..., torch.Tensor]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _examples(part: Part, banks: Sequence[LoraBank], shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    """The part's own examples, then rows with three LoRAs each out of four; about as strong as a trained one."""
    plain = part.examples(shapes, rows, generator)
    slots = torch.randint(EXAMPLE_SLOTS, (rows, EXAMPLE_LORAS), generator=generator)
    weights = torch.rand(rows, EXAMPLE_LORAS, generator=generator) * 2 - 1
    matrices = []
    for bank in banks:
        for shape in ((EXAMPLE_RANK, bank.in_features), (bank.out_features, EXAMPLE_RANK)):
            matrix = torch.randn(EXAMPLE_SLOTS, len(bank.modules), *shape, generator=generator)
            matrix[0] = 0
            matrices.append(matrix * 0.5 / shape[1] ** 0.5)
    return (*plain, slots, weights, *matrices)
