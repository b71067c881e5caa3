"""Latents of drawn clips, computed once: clip i of a seed, through the autoencoder, in files of a few clips each.

Called by the motion stage. A file that is there is not drawn again, so a run that was stopped goes on, and one that
wants more clips draws those alone. Half precision on disk: 131 kB a clip of 16 frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderDC
from torch import Tensor

from bowerbird.training.checkpoints import digest_of_weights, load_state, save_state
from bowerbird.training.clips import clip_at, draw_clip
from bowerbird.training.denoiser import encoded_pictures

_CHUNK = 20


@dataclass(frozen=True)
class ClipSet:
    """Clips 0 to `count` of a seed, `size` pixels a side."""

    seed: int
    count: int
    size: int


def clip_latents(
    folder: Path, wanted: ClipSet, autoencoder: AutoencoderDC, progress: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Scaled latents, float16 [count, frames, channels, side, side]; `progress` hears how many clips are there."""
    chunks = []
    for start, latents in _chunks(folder, wanted, autoencoder):
        chunks.append(latents)
        progress(start + len(latents))
    return torch.cat(chunks)[: wanted.count]


def _chunks(folder: Path, wanted: ClipSet, autoencoder: AutoencoderDC) -> Iterator[tuple[int, Tensor]]:
    encoder = digest_of_weights(autoencoder.encoder)
    for start in range(0, wanted.count, _CHUNK):
        path = folder / "clips" / f"latents-{wanted.seed}-{wanted.size}-{start:05d}.pt"
        state = load_state(path)
        # The last chunk of a smaller set is shorter than the same one of a larger set.
        stop = min(start + _CHUNK, wanted.count)
        if state is None or state["encoder"] != encoder or len(state["latents"]) < stop - start:
            clips = [draw_clip(clip_at(wanted.seed, index), wanted.size) for index in range(start, stop)]
            latents = torch.stack([encoded_pictures(autoencoder, clip).cpu().half() for clip in clips])
            state = {"latents": latents, "encoder": encoder}
            save_state(path, state)
        yield start, state["latents"][: stop - start]
