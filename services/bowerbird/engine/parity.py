"""How near a bundle is to what it was compiled from: what `bowerbird compile` measured and `bundle.json` states.

The engine reads them with the rest of the manifest and does nothing with them; `bowerbird inspect` shows them.
"""

from __future__ import annotations

from pydantic import Field

from bowerbird.contracts import Contract


class ParityFacts(Contract):
    """How far a part is from diffusers: the largest absolute difference over the gate's fixed inputs.

    `max_abs_difference` is measured against the same weights rounded to the bundle's precision (what the export did),
    `max_abs_rounding` and `rounding_psnr_db` against the checkpoint as it was (what rounding did on top); the peak of
    the latter is the range of the checkpoint's own answers.
    """

    max_abs_difference: float = Field(ge=0)
    tolerance: float = Field(gt=0)
    max_abs_rounding: float = Field(ge=0)
    rounding_psnr_db: float
    inputs: int = Field(ge=1, description="fixed inputs that were compared")


class HalfParity(Contract):
    """How far a part computed in fp16 is from the checkpoint as it was; the peak is the range of its answers."""

    psnr_db: float
    tolerance_db: float
    inputs: int = Field(ge=1)


class PictureParity(Contract):
    """Whole pictures by this bundle against whole pictures by diffusers from the same noise."""

    psnr_db: float
    tolerance_db: float
    steps: int
    pictures: int
