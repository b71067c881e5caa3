"""Files of strangers as frames: the only place where foreign pixels are decoded.

Called by `service`, in a thread. What a file is, its first bytes say, not its name or a stated media type; three
formats are decoded (`FORMATS`) and nothing else is tried. A file states its size in its header, which is compared with
`MAX_FILE_PIXELS` before anything is decoded: a bomb of a few kilobytes never becomes gigabytes. A JPEG of thousands of
scans, each of which means another pass over all pixels, is told by the number of their markers. So a file costs
at most 2.2 s of one core and 320 MiB while it is decoded, whatever was sent (measured: 16 Mpx as JPEG 0.5 s, as WebP
0.8 s, as PNG 1.3 s, as a JPEG of 64 scans 2.2 s).

A picture is turned as its EXIF says (phones store how they were held, not what was seen), laid on white where it is
transparent, scaled to cover the size that is drawn and cut around its middle, so that nothing is distorted.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bowerbird.contracts import MAX_FILE_PIXELS, PictureMediaType, Size
from bowerbird.curation.credentials import Credentials, Ingredient, ManifestUnreadable
from bowerbird.curation.manifest import ORIGINAL
from bowerbird.errors import RequestInvalid

Pixels = NDArray[np.uint8]
Field = Literal["image", "mask"]

FORMATS: dict[str, PictureMediaType] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
}
"""Pillow's names; MPO is what many cameras write: a JPEG with others behind it, of which nothing is decoded."""

MAX_SCANS = 64
"""Of a JPEG; encoders write some ten."""

_START_OF_SCAN = b"\xff\xda"
_ACCEPTED = "Accepted: one picture that is a PNG, JPEG or WebP"
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's parsers raise at files that are broken or made to break them (found by the tests, which try)."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A picture at the size that is drawn: uint8 `[height, width, 3]`.

    `mask` is the same shape, 255 where it is to be drawn anew and 0 elsewhere; None where nothing says so.
    """

    pixels: Pixels
    mask: Pixels | None
    media_type: PictureMediaType


def open_original(content: bytes, mask: bytes | None, size: Size, credentials: Credentials) -> Opened:
    """The picture that an edit begins with; raises RequestInvalid, also when its provenance could not be passed on."""
    opened = open_picture(content, mask, size)
    try:
        credentials.check(Ingredient(ORIGINAL, opened.media_type, content))
    except ManifestUnreadable as error:
        raise _refused("image", "a file whose content credentials cannot be read") from error
    return opened


def open_picture(content: bytes, mask: bytes | None, size: Size) -> Opened:
    """The picture in a file, and where to draw; raises RequestInvalid, naming `image` or `mask`."""
    picture, media_type = _decoded(content, "image")
    if mask is not None:
        holes: Image.Image | None = _mask(mask, picture.size)
    else:
        holes = _holes(picture) if _is_transparent(picture) else None
    return Opened(_fitted(_on_white(picture), size), None if holes is None else _frame(holes, size), media_type)


def _decoded(content: bytes, field: Field) -> tuple[Image.Image, PictureMediaType]:
    """The picture, upright; raises RequestInvalid when it is none, or too large."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as file:
            width, height = file.size
            if width * height > MAX_FILE_PIXELS:
                raise _too_large(field, f"{width}x{height} pixels")
            if file.format in ("JPEG", "MPO") and content.count(_START_OF_SCAN) > MAX_SCANS:
                raise _refused(field, "a JPEG of so many scans")
            if file.format != "MPO" and getattr(file, "is_animated", False):
                raise _refused(field, "a moving picture")
            media_type = FORMATS[file.format or ""]
            file.load()
            return _upright(_eight_bit(file)), media_type
    except _BROKEN as error:
        if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            raise _too_large(field, "so many pixels") from error
        raise _refused(field, "what was sent") from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """RGB, or RGBA where it has transparency; 16 bits of grey become 8."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture, np.int64).clip(0, 65_535)
        return _with_exif(Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB"), picture)
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _with_exif(picture: Image.Image, of: Image.Image) -> Image.Image:
    picture.info = of.info
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """As it was seen; a picture whose EXIF is broken is taken as it lies."""
    try:
        return ImageOps.exif_transpose(picture)
    except _BROKEN:
        return picture


def _is_transparent(picture: Image.Image) -> bool:
    """Whether some of it is fully transparent."""
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] == 0


def _mask(content: bytes, size: tuple[int, int]) -> Image.Image:
    mask, _ = _decoded(content, "mask")
    if mask.size != size:
        raise RequestInvalid(
            f"mask: it is {mask.width}x{mask.height} pixels and the picture is {size[0]}x{size[1]}. Accepted: a mask "
            "of the picture's size (both turned as their EXIF says).",
            param="mask",
        )
    if not _is_transparent(mask):
        raise RequestInvalid(
            "mask: no pixel of it is fully transparent, so nothing would be drawn. Accepted: a picture that is fully "
            "transparent where it is to be drawn anew.",
            param="mask",
        )
    return _holes(mask)


def _holes(picture: Image.Image) -> Image.Image:
    """L: 255 where it is fully transparent, else 0."""
    return picture.getchannel("A").point([255] + [0] * 255)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _fitted(picture: Image.Image, size: Size) -> Pixels:
    return np.asarray(ImageOps.fit(picture, (size.width, size.height), Image.Resampling.LANCZOS))


def _frame(holes: Image.Image, size: Size) -> Pixels:
    """Scaled as the picture is; a pixel of which more than half is a hole is one."""
    scaled = np.asarray(ImageOps.fit(holes, (size.width, size.height), Image.Resampling.BOX))
    return np.repeat(np.where(scaled >= 128, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def _too_large(field: Field, what: str) -> RequestInvalid:
    fact = f"{field}: {what} are more than are decoded. Accepted: up to {MAX_FILE_PIXELS} pixels."
    return RequestInvalid(fact, param=field)


def _refused(field: Field, what: str) -> RequestInvalid:
    return RequestInvalid(f"{field}: {what} is not accepted. {_ACCEPTED}.", param=field)
