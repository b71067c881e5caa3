"""What a picture will be, from the middle of its drawing and for little.

The scheduler asks after every k-th step, with the denoiser's estimate of the clean latents (`SamplerTable.clean`). A
bundle with a tiny autoencoder (role `preview`) answers in full size for a few per cent of a decode; any other through
`LinearPreview`, a matrix per latent pixel that was fitted when it was compiled and costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Backend, Floats
from bowerbird.engine.bundle import Bundle, LinearPreview
from bowerbird.engine.model.decoder import Decoder, as_pixels

ROLE = "preview"


class Preview:
    """Clean latents as a picture; may be called from several threads at once."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        """Raises BundleInvalid when the bundle has neither a `preview` part nor a linear map."""
        if ROLE in bundle.manifest.parts or bundle.drawing.preview is None:
            session = backend.load(bundle.path(bundle.part(ROLE).graph), key=bundle.part_digest(ROLE))
            self._answer: Callable[[Floats], NDArray[np.uint8]] = Decoder(session).frame
        else:
            self._answer = _Map(bundle.drawing.preview).picture

    def picture(self, clean_latents: Floats) -> NDArray[np.uint8]:
        """uint8 `[h, w, 3]` of float32 `[channels, height, width]`; h and w are multiples of the latents'."""
        return self._answer(clean_latents)


class _Map:
    def __init__(self, facts: LinearPreview) -> None:
        self._scale = facts.scale
        self._weights = np.array(facts.weights, np.float32)
        self._bias = np.array(facts.bias, np.float32)

    def picture(self, latents: Floats) -> NDArray[np.uint8]:
        _, height, width = latents.shape
        scale = self._scale
        blocks = np.tensordot(self._weights, latents, 1) + self._bias[:, None, None]
        blocks = blocks.reshape(3, scale, scale, height, width).transpose(0, 3, 1, 4, 2)
        return as_pixels(blocks.reshape(3, height * scale, width * scale))
