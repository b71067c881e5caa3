"""LoRA by row: banks on the device in the layout of the engine's bundles.

For each layer shape k one bank: `down` [slots, layers, rank, in] and `up` [slots, layers, out, rank]; slot 0 is zeros
and means "none". A batch brings `slots` and `weights`, both [rows, loras]:

    out = W x + sum over l of weight[l] * up[slot[l], layer] (down[slot[l], layer] x)

Both sides are gathered once a step for all layers of a bank (two copies a bank, not two a layer), with the LoRAs of a
row side by side along the rank; what is left for each layer is two batched products, the second adding to W x in place
of a kernel of its own. Switching a LoRA in writes one slot: two copies a bank, from pinned memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


class Projection(nn.Linear):
    """A linear layer over [rows, tokens, in] that adds its rows' LoRAs while `bank` is set."""

    bank: Bank | None = None
    layer: int = 0

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, out]."""
        out = F.linear(x, self.weight, self.bias)
        if self.bank is None:
            return out
        down, up = self.bank.of_rows
        inner = torch.bmm(x, down[:, self.layer].transpose(1, 2))
        return torch.baddbmm(out, inner, up[:, self.layer].transpose(1, 2))


class Bank:
    """All layers of one shape: `modules` names them by layer index, as the bundle's LoraBank does."""

    def __init__(self, modules: dict[str, Projection], slots: int, rank: int) -> None:
        self.modules = list(modules)
        some = next(iter(modules.values()))
        empty = {"device": some.weight.device, "dtype": some.weight.dtype}
        self.down = torch.zeros(slots, len(modules), rank, some.in_features, **empty)
        self.up = torch.zeros(slots, len(modules), some.out_features, rank, **empty)
        self.of_rows = (self.down, self.up)
        for layer, module in enumerate(modules.values()):
            module.layer = layer

    def gather(self, slots: Tensor, weights: Tensor) -> None:
        """Each row's LoRAs: down [rows, layers, loras * rank, in], up [rows, layers, out, loras * rank], weighted."""
        down = self.down[slots].transpose(1, 2).flatten(2, 3)
        up = self.up[slots] * weights[:, :, None, None, None].to(self.up.dtype)
        self.of_rows = down, up.permute(0, 2, 3, 1, 4).flatten(3)


class Banks:
    """The banks of a model; `attached` puts them into its layers and takes them out again."""

    def __init__(self, model: nn.Module, slots: int, rank: int) -> None:
        shapes: dict[tuple[int, int], dict[str, Projection]] = {}
        for name, module in model.named_modules():
            if isinstance(module, Projection):
                shapes.setdefault((module.in_features, module.out_features), {})[name] = module
        self.banks = [Bank(modules, slots, rank) for modules in shapes.values()]
        self._layers = [
            (module, bank)
            for bank, modules in zip(self.banks, shapes.values(), strict=True)
            for module in modules.values()
        ]

    def attach(self, attached: bool) -> None:
        """With or without LoRA: two graphs, as in a bundle."""
        for module, bank in self._layers:
            module.bank = bank if attached else None

    def gather(self, slots: Tensor, weights: Tensor) -> None:
        """To be called at the start of a step."""
        for bank in self.banks:
            bank.gather(slots, weights)

    def random_lora(self, generator: torch.Generator, pinned: bool) -> list[tuple[Tensor, Tensor]]:
        """A LoRA in host memory, as a file's tensors lie after reading: per bank its down and its up."""
        return [(_host(bank.down[0], generator, pinned), _host(bank.up[0], generator, pinned)) for bank in self.banks]

    def write(self, slot: int, lora: list[tuple[Tensor, Tensor]]) -> None:
        """Puts a LoRA into a slot; asynchronous on a GPU."""
        for bank, (down, up) in zip(self.banks, lora, strict=True):
            bank.down[slot].copy_(down, non_blocking=True)
            bank.up[slot].copy_(up, non_blocking=True)

    @property
    def bytes_per_slot(self) -> int:
        """Size of one LoRA on the device."""
        return sum(each[0].nbytes for bank in self.banks for each in (bank.down, bank.up))

    def __iter__(self) -> Iterator[Bank]:
        return iter(self.banks)


def _host(like: Tensor, generator: torch.Generator, pinned: bool) -> Tensor:
    values = (torch.randn(like.shape, generator=generator) * 0.02).to(like.dtype)
    return values.pin_memory() if pinned else values
