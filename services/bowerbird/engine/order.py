"""What is asked of the engine, and what comes back: an order, and the events of its drawing.

`Engine.order` makes an order of a request before anything is computed; the events reach whoever asked in the order in
which they happen, and a Summary is always the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import MAX_STEPS, Size
from bowerbird.engine.model.clip import ClipForm
from bowerbird.engine.model.conditioning import PromptIds
from bowerbird.engine.model.encoder import FirstPicture

if TYPE_CHECKING:
    from bowerbird.engine.lora.files import LoraFile


@dataclass(frozen=True, slots=True)
class Order:
    """A request that this engine can draw: checked and tokenised. Frame k has the seed `seed_of(seed, k)`.

    With `clip` it is `count` clips of such frames, and clip k has that seed. `negative` is None where a picture is one
    row: without guidance, or where the model has guidance built in. Of a model that reads no prompts both have no ids,
    and `image`, uint8 `[height, width, 3]`, is what its clips are told.
    """

    positive: PromptIds = field(repr=False)
    negative: PromptIds | None = field(repr=False)
    size: Size
    steps: int
    guidance_scale: float
    seed: int
    count: int
    loras: tuple[tuple[LoraFile, float], ...] = ()
    preview_steps: int = 0
    max_previews: int = MAX_STEPS
    first: FirstPicture | None = None
    clip: ClipForm | None = None
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def frames(self) -> int:
        """That leave."""
        return self.count * (self.clip.frames if self.clip else 1)


@dataclass(frozen=True, slots=True)
class Step:
    """A frame, or a clip, or frames that are drawn together, is after `step` of `steps`; `finished` are decoded."""

    step: int
    steps: int
    finished: int


@dataclass(frozen=True, slots=True)
class PreviewFrame:
    """What frame `index` will be, as far as one can see after `step` of `steps`; uint8 `[h, w, 3]`, RGB, small.

    Of clip `index` it is the frame in the middle.
    """

    index: int
    step: int
    steps: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """A finished frame, uint8 `[height, width, 3]`, RGB; of clip k of n frames the indices are k n to k n + n - 1."""

    index: int
    seed: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of an order: seconds by phase and how many steps of frames were computed (three frames' step is 3, a
    clip's the number of frames that were drawn).

    A phase is counted whole for everyone who was in it: a step shared by four requests took each of them its full
    time. `queue` is what was left: the time in which others were computed.
    """

    seconds: dict[str, float]
    steps_computed: int


Event = Step | PreviewFrame | Frame | Summary
