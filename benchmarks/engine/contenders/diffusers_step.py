"""Peer: denoiser steps by diffusers. Spec {"checkpoint", "compiled"}; question {"rows", "steps"}.

`compiled` is torch.compile as PyTorch documents it for inference on a CPU: freezing on, static shapes, inference mode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers_model import Model
from protocol import Answer, serve, timed


def prepare(spec: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """Loads, and compiles by a first call of the rows that will be asked."""
    model = Model(Path(spec["checkpoint"]))
    unet: Any = model.unet
    facts: dict[str, Any] = {"torch": torch.__version__}
    if spec["compiled"]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        unet = torch.compile(model.unet, dynamic=False)
        facts["compile_seconds"] = timed(lambda: _step(model, unet, spec["rows"]))

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        seconds = timed(lambda: [_step(model, unet, question["rows"]) for _ in range(question["steps"])])
        return {"seconds": seconds / question["steps"]}

    return facts, answer


@torch.inference_mode()
def _step(model: Model, unet: Any, rows: int) -> None:
    sample = torch.randn(rows, *model.latent_shape).contiguous(memory_format=torch.channels_last)
    states = torch.randn(rows, model.tokens, model.unet.config.cross_attention_dim)
    unet(sample, torch.full((rows,), 500.0), states, return_dict=False)


if __name__ == "__main__":
    serve(prepare)
