"""Components as torch modules: hollow ones to export, and ones with their weights to compare with.

A hollow component has every parameter's shape and none of its values, so that exporting Stable Diffusion XL takes
megabytes. A loaded one is float32, as the parity gate wants it, and is filled tensor by tensor: never twice in memory.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported

LIBRARIES = {"diffusers", "transformers"}
TENSORS_AT_ONCE = 64
POSITIONS = ".pos_embed.pe"
"""Ends of the names of what tells a motion module which frame it looks at: sines, which a file may leave out."""


def hollow(model: nn.Module) -> Any:
    """The model, in place, with fake tensors for parameters: shapes without values, which `torch.export` traces."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in made:
                with mode:
                    empty = torch.empty(parameter.shape, dtype=torch.float32)
                made[id(parameter)] = nn.Parameter(empty, requires_grad=False)
            module._parameters[name] = made[id(parameter)]
    return model.eval()


def hollow_component(checkpoint: Checkpoint, name: str) -> Any:
    """A component made from its config alone."""
    return hollow(_without_weights(checkpoint, name))


def load_component(checkpoint: Checkpoint, name: str) -> Any:
    """A component with its weights, float32, ready to be asked; raises CheckpointUnsupported when it cannot be read.

    Where the files hold what the class calls its tensors, they are read one by one; names of older releases are left
    to the class' own loader.
    """
    files = checkpoint.weight_files(name)
    model = _without_weights(checkpoint, name)
    wanted = set(model.state_dict(keep_vars=True))
    try:
        stored = {key for path in files for key in _keys(path)}
        if stored | {key for key in wanted if key.endswith(POSITIONS)} == wanted:
            _fill(model, files)
        elif checkpoint.is_joined(name):
            raise ValueError("its two halves hold other tensors than a UNetMotionModel.")
        else:
            model = _class_of(checkpoint, name).from_pretrained(
                checkpoint.folder_of(name), torch_dtype=torch.float32, use_safetensors=True, **_variant(files)
            )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointUnsupported(f"{checkpoint.folder_of(name)} cannot be loaded: {error}") from error
    return model.eval().requires_grad_(False)


def release(model: nn.Module) -> None:
    """Gives the memory of a component's weights back to the system, whoever still holds the module."""
    for parameter in model.parameters():
        parameter.data = torch.empty(0)
    give_back_freed_memory()


def give_back_freed_memory() -> None:
    """What was freed goes back to the system before the next big thing is loaded.

    glibc keeps what was freed below its threshold, which grows up to 32 MB: a third of a UNet, or all that a session of
    ONNX Runtime held, *measured*.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def load_scheduler(checkpoint: Checkpoint, sampler: str | None) -> Any:
    """The checkpoint's scheduler, or one of another class with the same config."""
    library = importlib.import_module("diffusers")
    scheduler_class = getattr(library, sampler or checkpoint.class_of("scheduler"), None)
    if scheduler_class is None or not hasattr(scheduler_class, "set_timesteps"):
        raise CheckpointUnsupported(f"diffusers has no scheduler {sampler or checkpoint.class_of('scheduler')}.")
    return scheduler_class.from_config(checkpoint.config("scheduler"))


def _class_of(checkpoint: Checkpoint, name: str) -> Any:
    library = checkpoint.index[name][0]
    if library not in LIBRARIES:
        raise CheckpointUnsupported(f"{name} comes from {library}, which this compiler does not load.")
    return getattr(importlib.import_module(library), checkpoint.class_of(name))


def _without_weights(checkpoint: Checkpoint, name: str) -> nn.Module:
    """The model with parameters on the meta device, and buffers as its class computes them."""
    model_class, folder = _class_of(checkpoint, name), checkpoint.folder_of(name)
    with _meta_parameters():
        if checkpoint.index[name][0] == "diffusers":
            model = model_class.from_config(checkpoint.config(name))
        else:
            model = model_class(model_class.config_class.from_pretrained(folder))
    module: nn.Module = model
    _positions_as_parameters(module)
    return module


def _positions_as_parameters(model: nn.Module) -> None:
    """Sines that a class keeps as a buffer become a weight like any other: kept once, and rounded in one place."""
    for path, module in model.named_modules():
        if f".{path}.pe".endswith(POSITIONS):
            values = module._buffers.pop("pe")
            module.register_parameter("pe", nn.Parameter(values, requires_grad=False))


@contextmanager
def _meta_parameters() -> Iterator[None]:
    """Parameters lose their memory the moment a module gets them, so that a model is never whole while it is built."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=False)

    nn.Module.register_parameter = register_on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register


def _fill(model: nn.Module, files: list[Path]) -> None:
    """Opens each file again and again: what was read of it stays mapped, and in memory, until it is closed."""
    with torch.no_grad():
        for path in files:
            keys = _keys(path)
            for first in range(0, len(keys), TENSORS_AT_ONCE):
                with safe_open(path, "pt") as file:
                    for key in keys[first : first + TENSORS_AT_ONCE]:
                        _assign(model, key, file.get_tensor(key))


def _assign(model: nn.Module, key: str, tensor: torch.Tensor) -> None:
    path, _, name = key.rpartition(".")
    module = model.get_submodule(path)
    value = tensor.float() if tensor.is_floating_point() else tensor
    kept = module._parameters.get(name, module._buffers.get(name))
    if kept is None or kept.shape != value.shape:
        raise ValueError(f"{key} has shape {tuple(value.shape)}, not what its config says.")
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(value, requires_grad=False)
    else:
        module._buffers[name] = value


def _keys(path: Path) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.keys())


def _variant(files: list[Path]) -> dict[str, str]:
    return {"variant": "fp16"} if all(".fp16" in path.name for path in files) else {}
