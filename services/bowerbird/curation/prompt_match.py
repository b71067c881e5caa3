"""`prompt_match`: does the picture show what was asked for?

Called by `judging`; the encoder behind it is a CLIP in miniature, opened by `encoder` from a bundle. Cosines of
different encoders cannot be compared and mean nothing to a reader, so the score is a probability: that the text
belongs to the picture, rather than being wrong about one thing (for the judge that comes with Bowerbird: species, pose
or season, whichever it tells apart least well). 0.5 is undecided. It rises with the cosine, so candidates rank as they
would by it.

Why not the common "true prompt among 32 others": random others differ in everything, so every candidate that is about
right gets 1.000, and the best of k would be chosen by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bowerbird.curation.measures import Measure
from bowerbird.curation.view import View
from bowerbird.frames import Frames

Embeddings = NDArray[np.float32]


class Encoder(Protocol):
    """Pictures and texts in one space; `[n, d]` float32, of any length (they are normalised here)."""

    def embed_images(self, frames: Frames) -> Embeddings:
        """uint8 `[n, height, width, 3]`, of any size."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """One row for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Calibration:
    """What cosines of one encoder mean: how they are spread for texts that belong to a picture, and for texts that are
    wrong about one thing (both normal, with the wider of both deviations)."""

    matching_mean: float
    mismatching_mean: float
    deviation: float

    @property
    def slope(self) -> float:
        """By how much the log of the odds grows with the cosine, where both are normal with one width."""
        return (self.matching_mean - self.mismatching_mean) / self.deviation**2

    def probability(self, cosine: float) -> float:
        """Bayes' rule for two normal distributions of one width and even odds: a logistic curve."""
        middle = (self.matching_mean + self.mismatching_mean) / 2
        return float(1 / (1 + np.exp(-np.clip(self.slope * (cosine - middle), -50, 50))))


class PromptMatch:
    """An encoder with its calibration; `name` (name@digest) stands in every judgement."""

    def __init__(
        self, name: str, encoder: Encoder, calibration: Calibration, species_calibration: Calibration | None = None
    ) -> None:
        self.name = name
        self._encoder = encoder
        self._calibration = calibration
        self.species_calibration = species_calibration or calibration
        """Of texts that are wrong about the species."""

    def measure(self, prompt: str) -> Measure:
        """The measure for one prompt; embeds its text once."""
        [text] = self.embed_texts([prompt])

        def of(view: View) -> float:
            return self._calibration.probability(float(text @ self.embed_picture(view)))

        return Measure("prompt_match", "1", "higher_is_better", 0.0, 1.0, of=of, weight=0.7, noise=0.05)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """float32 `[n, d]` of length one; raises PromptTooLong."""
        return _normalised(self._encoder.embed_texts(texts))

    def embed_picture(self, view: View) -> Embeddings:
        """float32 `[d]` of length one; computed once for a view."""
        if self not in view.embeddings:
            [view.embeddings[self]] = _normalised(self._encoder.embed_images(view.pixels[None]))
        return view.embeddings[self]


def _normalised(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, 1e-12), dtype=np.float32)
