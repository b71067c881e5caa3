"""What the denoiser is told of a clip that begins with a picture and has no prompt (Stable Video Diffusion).

`drawing` makes an `ImageConditioner` where the bundle's facts say so (`bundle.ImageConditioning`). By port:

    states         [1, width]  what CLIP's image encoder sees in the picture
    image_latents  [c, h, w]   the picture itself, beside the noise of every frame; a little noise lies on it too, so
                               that a clip may leave it
    time_ids       [3]         frames per second less one, motion bucket, strength of that noise

What guidance leads away from is told zeros for the picture and the same numbers (Blattmann et al., "Stable Video
Diffusion: scaling latent video diffusion models to large datasets", 2023).

The image encoder reads fewer pixels. A resize is linear in rows and in columns, so it is two matrices: the compiler
finds them by asking diffusers' own (`compiler.resizing`), and here they are only applied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bowerbird.engine.backend import Backend, Floats
from bowerbird.engine.bundle import IMAGE_ENCODER, RESIZES, Bundle, MotionFacts
from bowerbird.engine.model.conditioning import Conditioning
from bowerbird.engine.model.encoder import Encoder, as_read
from bowerbird.engine.model.noise import PICTURE_CALL, noise
from bowerbird.errors import BundleInvalid, DrawingFailed

Guided = tuple[Conditioning, Conditioning]
"""What a clip is led to, and what it is led away from."""


class ImageConditioner:
    """The bundle's image encoder, and its autoencoder's; may be called from several threads at once."""

    def __init__(self, bundle: Bundle, backend: Backend, motion: MotionFacts, encoder: Encoder) -> None:
        """`motion.image` is not None; raises BundleInvalid when the bundle lacks a part or its resizes."""
        assert motion.image is not None  # noqa: S101 - `Engine` makes one of no other bundle
        self._session = backend.load(bundle.graph(IMAGE_ENCODER), key=bundle.part_digest(IMAGE_ENCODER))
        self._encoder = encoder
        self._strength = np.float32(motion.image.noise_strength)
        told = (motion.frames_per_second - 1, motion.image.motion_bucket, motion.image.noise_strength)
        self._time_ids = np.array(told, np.float32)
        self._resizes = _resizes(bundle)

    def conditionings(self, pixels: NDArray[np.uint8], seeds: Sequence[int]) -> list[Guided]:
        """For a clip of each seed that begins with the picture, uint8 `[height, width, 3]` of one of the sizes.

        Raises DrawingFailed when what the picture becomes is not finite.
        """
        picture = as_read(pixels)
        states = self._states(picture)
        return [self._guided(states, picture, seed) for seed in seeds]

    def _guided(self, states: Floats, picture: Floats, seed: int) -> Guided:
        noised = picture + self._strength * noise(seed, PICTURE_CALL, picture.shape)
        seen = {"states": states, "image_latents": self._encoder.latents(noised)}
        unseen = {port: np.zeros_like(value) for port, value in seen.items()}
        return {**seen, "time_ids": self._time_ids}, {**unseen, "time_ids": self._time_ids}

    def _states(self, picture: Floats) -> Floats:
        rows, columns = (self._resizes[str(side)] for side in picture.shape[1:])
        states: Floats = self._session.run({"pictures": (rows @ picture @ columns.T)[None]})["states"][0]
        if not np.isfinite(states).all():
            raise DrawingFailed("The picture that was to be begun with became NaN or infinite when it was looked at.")
        return states


def _resizes(bundle: Bundle) -> dict[str, Floats]:
    """By side in pixels, the matrix that makes it as long as the image encoder's."""
    path = bundle.path(RESIZES)
    try:
        resizes: dict[str, Floats] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleInvalid(f"{path} does not hold resizes: {error}") from error
    sides = {str(side) for size in bundle.drawing.sizes for side in (size.height, size.width)}
    if missing := sides - resizes.keys():
        raise BundleInvalid(f"{path} does not say how a side of {', '.join(sorted(missing))} pixels is resized.")
    return resizes
