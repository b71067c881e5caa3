"""A class of resolution, which an application chooses once, as one of the sizes of the model that is served now."""

from __future__ import annotations

from enum import StrEnum

from bowerbird.contracts import ModelDescription, Size
from bowerbird.errors import SizeUnsupported

THUMBNAIL_PIXELS = 256
STANDARD_PIXELS = 768


class Resolution(StrEnum):
    """By the longer side in pixels."""

    THUMBNAIL = "thumbnail"
    """Up to THUMBNAIL_PIXELS: in a list."""
    STANDARD = "standard"
    """Up to STANDARD_PIXELS: on a page."""
    LARGE = "large"
    """Above: on the whole screen."""


def resolution_of(size: Size) -> Resolution:
    """The class of a size."""
    longer = max(size.width, size.height)
    if longer <= THUMBNAIL_PIXELS:
        return Resolution.THUMBNAIL
    return Resolution.STANDARD if longer <= STANDARD_PIXELS else Resolution.LARGE


def size_of(resolution: Resolution | None, model: ModelDescription) -> Size:
    """The model's largest size of a class, the first of equal ones, or its own first; raises SizeUnsupported."""
    if resolution is None:
        return model.sizes[0]
    fitting = [size for size in model.sizes if resolution_of(size) is resolution]
    if not fitting:
        classes = dict.fromkeys(resolution_of(size).value for size in model.sizes)
        raise SizeUnsupported(
            f"resolution: {model.name} draws no picture that is {resolution.value!r}. Accepted: "
            f"{', '.join(map(repr, classes))}, or no resolution for {model.sizes[0]}.",
            param="resolution",
        )
    return max(fitting, key=lambda size: size.width * size.height)
