"""The judge's encoder from a bundle: a picture tower and a text tower in one space.

Called by `service` at start; `prompt_match` uses it through its protocol. Graphs run one thread each: frames are looked
at in parallel, and two small graphs on one core each finish sooner than one on two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from bowerbird.curation.prompt_match import Calibration, Embeddings, PromptMatch
from bowerbird.engine.backend import Array, Backend, Session
from bowerbird.engine.bundle import MANIFEST, TOKENIZER, Bundle, JudgingFacts
from bowerbird.engine.model.tokenizer import PromptTokenizer
from bowerbird.errors import BundleInvalid
from bowerbird.frames import Frames


class Spread(BaseModel):
    """Cosines of many pictures with one kind of text."""

    mean: float = Field(ge=-1, le=1)
    std: float = Field(gt=0, le=1)


class CalibrationFacts(BaseModel):
    """What is read of `judging.calibration`; the trainer states more, for people."""

    matching: Spread
    wrong: dict[str, Spread] = Field(min_length=1, description="by what the text is wrong about")

    @model_validator(mode="before")
    @classmethod
    def _gather_wrong(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The trainer's `wrong_species`, `wrong_pose`, … as one dictionary."""
        wrong = {name.removeprefix("wrong_"): value for name, value in data.items() if name.startswith("wrong_")}
        return {"matching": data.get("matching"), "wrong": wrong}

    def calibration(self) -> Calibration:
        """Against the kind of wrong text whose cosines come nearest."""
        nearest = max(self.wrong.values(), key=lambda spread: spread.mean)
        return Calibration(self.matching.mean, nearest.mean, max(self.matching.std, nearest.std))

    def species_calibration(self) -> Calibration | None:
        """Against texts that are wrong about the species, with the pooled deviation, as both kinds are compared with
        each other there; None where the trainer did not measure them.
        """
        if (wrong := self.wrong.get("species")) is None:
            return None
        return Calibration(self.matching.mean, wrong.mean, math.hypot(self.matching.std, wrong.std) / math.sqrt(2))


def open_judge(folder: Path, backend: Backend) -> PromptMatch:
    """The judge in `folder`; raises BundleInvalid when a digest is wrong or it is no judge."""
    bundle = Bundle.open(folder)
    if bundle.manifest.judging is None:
        raise BundleInvalid(f"{folder} cannot judge: its bundle.json has no section 'judging'.")
    try:
        facts = CalibrationFacts.model_validate(bundle.manifest.judging.calibration)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(("judging.calibration", *map(str, first["loc"])))
        raise BundleInvalid(f"{folder / MANIFEST}: {where}: {first['msg']}.") from error
    name = f"{bundle.manifest.name}@{bundle.digest}"
    encoder = BundleEncoder(bundle, bundle.manifest.judging, backend)
    return PromptMatch(name, encoder, facts.calibration(), facts.species_calibration())


class BundleEncoder:
    """Both towers of a judge's bundle; may be called from several threads at once."""

    def __init__(self, bundle: Bundle, facts: JudgingFacts, backend: Backend) -> None:
        self._facts = facts
        self._images = _Tower(bundle, "image_encoder", backend)
        self._texts = _Tower(bundle, "text_encoder", backend)
        self._tokenizer = PromptTokenizer(bundle.path(TOKENIZER), bundle.tokenizer)

    def embed_images(self, frames: Frames) -> Embeddings:
        """float32 `[n, d]` for uint8 `[n, height, width, 3]`."""
        return self._images.embed(np.stack([self._prepared(frame) for frame in frames]))

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """float32 `[n, d]`; raises PromptTooLong when a text has more tokens than the tower reads."""
        return self._texts.embed(np.stack([self._tokenizer.ids(text) for text in texts]))

    def _prepared(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 `[3, size, size]`: resized to a square, 0 to 1, minus mean, over deviation."""
        size = self._facts.image_size
        shrinks = size < max(frame.shape[:2])
        if frame.shape[:2] != (size, size):
            frame = np.asarray(
                cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
            )
        pixels = frame.astype(np.float32) / 255.0
        mean, deviation = np.array(self._facts.mean, np.float32), np.array(self._facts.std, np.float32)
        return np.asarray(((pixels - mean) / deviation).transpose(2, 0, 1), dtype=np.float32)


class _Tower:
    """A graph with one input and one output, whatever they are called."""

    def __init__(self, bundle: Bundle, role: str, backend: Backend) -> None:
        part = bundle.part(role)
        if len(part.inputs) != 1 or len(part.outputs) != 1:
            raise BundleInvalid(f"{bundle.folder}: {role} must have one input and one output.")
        self._input, self._output = part.inputs[0].name, part.outputs[0].name
        self._session: Session = backend.load(bundle.path(part.graph), key=bundle.part_digest(role))

    def embed(self, batch: Array) -> Embeddings:
        return np.asarray(self._session.run({self._input: batch})[self._output], dtype=np.float32)
