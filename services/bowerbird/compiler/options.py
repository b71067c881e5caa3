"""The options of `bowerbird compile` as they stand on the command line: one type each, which typer reads.

`commands` takes them; what they mean to the compiler is said by `compiling.Options` and `compiling.Identity`.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bowerbird" / "exports"


class PrecisionOption(StrEnum):
    """See `compiler.precision`."""

    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"
    int8 = "int8"


class BackendOption(StrEnum):
    """See `engine.backend`."""

    cpu = "cpu"
    openvino = "openvino"
    cuda = "cuda"
    tensorrt = "tensorrt"


CheckpointPath = Annotated[
    Path, typer.Argument(help="a diffusers folder, or the judge/ folder of a trained fledgling", metavar="CHECKPOINT")
]
Target = Annotated[Path, typer.Option(help="folder of the bundle; a bundle already there is replaced")]
Sizes = Annotated[
    list[str] | None, typer.Option(help="WIDTHxHEIGHT, again for each size; default: the checkpoint's own")
]
Precision = Annotated[
    PrecisionOption, typer.Option(help="what weights are kept in; int8: matrices only, the rest fp16")
]
Sampler = Annotated[str | None, typer.Option(help="a scheduler class of diffusers; default: the checkpoint's")]
Preview = Annotated[
    Path | None, typer.Option(help="folder of an AutoencoderTiny, for previews; default: its preview_vae/")
]
MotionAdapter = Annotated[
    Path | None, typer.Option(help="folder of a MotionAdapter (AnimateDiff): the bundle then draws clips")
]
TinyDecoder = Annotated[
    bool, typer.Option("--tiny-decoder", help="draw with the tiny autoencoder: faster drafts, less detail")
]
Lora = Annotated[bool, typer.Option("--lora/--no-lora", help="take LoRAs with requests")]
Backends = Annotated[
    list[BackendOption] | None,
    typer.Option(help="what will run it, again for each; prepared for it if that runtime is here"),
]
Half = Annotated[
    bool | None,
    typer.Option("--half/--no-half", help="add graphs that compute in fp16; default: with --backend cuda"),
]
Full = Annotated[bool, typer.Option("--full", help="compare every size and whole pictures, however long it takes")]
Name = Annotated[str | None, typer.Option(help="default: the checkpoint's, else its folder's")]
Version = Annotated[str | None, typer.Option(help="default: the checkpoint's, else 1")]
Licence = Annotated[str | None, typer.Option(help="SPDX expression; default: the checkpoint's")]
Steps = Annotated[int | None, typer.Option(min=1, max=50, help="steps when nothing is asked; default: the family's")]
GuidanceScale = Annotated[float | None, typer.Option(min=1, help="guidance when nothing is asked")]
Cache = Annotated[Path, typer.Option(help="exported graphs by content; safe to delete")]
