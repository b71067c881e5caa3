"""The compiled bundle as an examinee: `quality` draws with the engine that serves, not with torch.

Called by `bowerbird train quality --bundle`, and for clips by `clip-quality` and `clip-sheet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import AnimateRequest, DrawRequest
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.drawing import Frame
from bowerbird.engine.opening import open_engine
from bowerbird.training.clip_sheet import DrawClips
from bowerbird.training.clips import FRAMES
from bowerbird.training.quality import Draw


def drawn_by_bundle(bundle: Path, steps: int | None, guidance: float | None) -> Draw:
    """A `draw` that asks the engine for one frame per prompt; None takes the bundle's defaults."""
    engine = open_engine(bundle, CpuBackend())
    facts = engine.facts

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        frames = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            request = DrawRequest(
                prompt=prompt,
                size=facts.sizes[0],
                steps=steps or facts.default_steps,
                guidance_scale=guidance or facts.default_guidance_scale,
                seed=seed,
                count=1,
            )
            frames += [item.pixels for item in engine.draw(engine.order(request)) if isinstance(item, Frame)]
        return np.stack(frames)

    return draw


def clips_by_bundle(bundle: Path, steps: int | None, guidance: float | None) -> DrawClips:
    """A `draw` that asks the engine for one window of frames per prompt; None takes the bundle's defaults."""
    engine = open_engine(bundle, CpuBackend())
    facts = engine.facts

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            request = AnimateRequest(
                prompt=prompt,
                size=facts.sizes[0],
                steps=steps or facts.default_steps,
                guidance_scale=guidance or facts.default_guidance_scale,
                seed=seed,
                count=1,
                frames=FRAMES,
            )
            events = engine.draw(engine.animate(request))
            yield np.stack([item.pixels for item in events if isinstance(item, Frame)])

    return draw


def kept_clips(draw: DrawClips, folder: Path) -> DrawClips:
    """`draw`, but a clip that lies in `folder` already is not drawn again: an hour's examination may be interrupted.

    One file a seed; the folder is for one bundle, one number of steps and one set of prompts.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def drawn_once(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            path = folder / f"{seed}.npz"
            if not path.exists():
                partial = path.with_suffix(".partial.npz")
                (frames,) = draw([prompt], [seed])
                np.savez_compressed(partial, frames=frames)
                partial.replace(path)
            with np.load(path) as kept:
                yield kept["frames"]

    return drawn_once


def reconstructed_by_bundle(bundle: Path, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures after the bundle's encoder and decoder, uint8 [n, height, width, 3]."""
    from bowerbird.engine.bundle import Bundle
    from bowerbird.engine.model.decoder import Decoder

    opened, backend = Bundle.open(bundle), CpuBackend()
    encoder = backend.load(opened.path(opened.part("encoder").graph))
    decoder = Decoder(backend.load(opened.path(opened.part("decoder").graph)))
    found = []
    for picture in pictures:
        pixels = (picture.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        latents = encoder.run({"pictures": np.ascontiguousarray(pixels)})["latents"][0]
        found.append(decoder.frame(latents))
    return np.stack(found)
