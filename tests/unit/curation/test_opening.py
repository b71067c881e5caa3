"""Files of strangers: what is opened as it was seen, and what is refused, whoever made it and to what end."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bowerbird.contracts import MAX_FILE_PIXELS, Size
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.opening import MAX_SCANS, Opened, open_original, open_picture
from bowerbird.errors import RequestInvalid

Pixels = NDArray[np.uint8]

SIZE = Size(width=32, height=32)
ORIENTATION = 0x0112


def file(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, file_format, **options)
    return written.getvalue()


def quarters(width: int = 64, height: int = 64) -> Image.Image:
    """Red, green, blue and black, from left to right and from top to bottom."""
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate(("red", "lime", "blue", "black")):
        image.paste(colour, (number % 2 * width // 2, number // 2 * height // 2, width, height))
    return image


def with_hole(width: int = 64, height: int = 64, mode: str = "RGBA") -> Image.Image:
    """White, but for its left half, which is fully transparent."""
    image = Image.new("RGBA", (width, height), "white")
    image.paste((9, 9, 9, 0), (0, 0, width // 2, height))
    return image.convert(mode)


def corners(pixels: Pixels) -> list[str]:
    names = {(255, 0, 0): "red", (0, 255, 0): "lime", (0, 0, 255): "blue", (0, 0, 0): "black"}
    far = pixels.shape[0] - 4
    return [names[tuple(np.round(pixels[y, x] / 255).astype(int) * 255)] for y in (4, far) for x in (4, far)]


def refused(content: bytes, mask: bytes | None = None) -> RequestInvalid:
    with pytest.raises(RequestInvalid) as caught:
        open_picture(content, mask, SIZE)
    return caught.value


@pytest.mark.parametrize(("file_format", "media_type"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_a_picture_is_opened_at_the_size_that_is_drawn(file_format: str, media_type: str) -> None:
    opened = open_picture(file(quarters(), file_format, quality=95), None, SIZE)
    assert opened.pixels.shape == (32, 32, 3)
    assert opened.pixels.dtype == np.uint8
    assert opened.media_type == f"image/{media_type}"
    assert opened.mask is None
    assert corners(opened.pixels) == ["red", "lime", "blue", "black"]


def test_it_is_cut_around_its_middle_and_not_distorted() -> None:
    wide = Image.new("RGB", (128, 64), "black")
    wide.paste(quarters(), (32, 0))
    assert corners(open_picture(file(wide), None, SIZE).pixels) == ["red", "lime", "blue", "black"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_it_is_turned_as_its_exif_says(orientation: int, file_format: str) -> None:
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters() if orientation == 1 else quarters().transpose(turned[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    opened = open_picture(file(stored, file_format, exif=exif, quality=95), None, SIZE)
    assert corners(opened.pixels) == ["red", "lime", "blue", "black"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_a_png_becomes_rgb(mode: str) -> None:
    grey = Image.new("L", (64, 64), 128)
    image = Image.fromarray(np.full((64, 64), 128 * 257, np.uint16)) if mode == "I;16" else grey.convert(mode)
    opened = open_picture(file(image), None, SIZE)
    assert opened.mask is None
    if mode != "1":
        assert np.abs(opened.pixels.astype(int) - 128).max() <= 1


def test_a_jpeg_in_cmyk_is_opened_too() -> None:
    opened = open_picture(file(quarters().convert("CMYK"), "JPEG", quality=95), None, SIZE)
    assert corners(opened.pixels) == ["red", "lime", "blue", "black"]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_a_mask_where_there_is_no_other(mode: str) -> None:
    opened = open_picture(file(with_hole(mode=mode)), None, SIZE)
    assert opened.mask is not None
    assert opened.mask.shape == opened.pixels.shape
    assert np.all(opened.mask[:, :16] == 255)
    assert np.all(opened.mask[:, 16:] == 0)
    assert np.all(opened.pixels == 255)


def test_what_is_only_somewhat_transparent_is_no_mask() -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 1))
    opened = open_picture(file(image), None, SIZE)
    assert opened.mask is None
    assert opened.pixels.min() >= 253


def test_a_mask_says_where_to_draw_and_wins_over_the_pictures_own() -> None:
    opened = open_picture(file(with_hole().transpose(Image.Transpose.ROTATE_90)), file(with_hole()), SIZE)
    assert opened.mask is not None
    assert np.all(opened.mask[:, :16] == 255)
    assert np.all(opened.mask[:, 16:] == 0)


@pytest.mark.parametrize(
    ("mask", "fact"),
    [
        (with_hole(32, 64), "32x64 pixels and the picture is 64x64"),
        (with_hole(mode="RGB"), "no pixel of it is fully transparent"),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 1)), "no pixel of it is fully transparent"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(mask: Image.Image, fact: str) -> None:
    error = refused(file(quarters()), file(mask))
    assert error.param == "mask"
    assert fact in error.message


def test_the_file_that_is_no_picture_is_named() -> None:
    assert refused(b"not a picture").param == "image"
    assert refused(file(quarters()), b"not a picture").param == "mask"


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PDF", "EPS"])
def test_formats_that_are_not_listed_are_not_even_tried(file_format: str) -> None:
    assert "PNG, JPEG or WebP" in refused(file(quarters(), file_format)).message


def test_a_moving_picture_is_refused() -> None:
    for file_format in ("PNG", "WEBP"):
        moving = file(quarters(), file_format, save_all=True, append_images=[with_hole(mode="RGB")])
        assert "a moving picture" in refused(moving).message


def png(width: int, height: int, compressed: bytes) -> bytes:
    """A PNG whose header says what it likes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(4097, 4096), (50_000, 50_000), (2**31 - 1, 2**31 - 1), (1, 2**25)])
def test_more_pixels_than_are_decoded_are_refused_by_the_header(width: int, height: int) -> None:
    error = refused(png(width, height, zlib.compress(b"\0" * 1000)))
    assert f"up to {MAX_FILE_PIXELS} pixels" in error.message


def test_a_bomb_behind_an_honest_header_inflates_to_no_more_than_the_header_says() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000)
    opened = open_picture(png(8, 8, bomb), None, SIZE)
    assert opened.pixels.shape == (32, 32, 3)


def test_a_jpeg_of_thousands_of_scans_is_refused_before_one_is_decoded() -> None:
    whole = file(quarters(), "JPEG", progressive=True)
    at = whole.index(b"\xff\xda")
    scans = whole[:at] + whole[at:-2] * MAX_SCANS + whole[-2:]
    assert "so many scans" in refused(scans).message


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_refused(file_format: str) -> None:
    whole = file(Image.effect_noise((64, 64), 50).convert("RGB"), file_format)
    for length in (0, 1, 8, 30, len(whole) // 2, int(len(whole) * 0.9)):
        assert refused(whole[:length]).param == "image"


def test_a_files_own_words_never_reach_an_error() -> None:
    secret = b"zzsecretzz"
    assert "zzsecretzz" not in refused(secret * 10).message
    assert "zzsecretzz" not in refused(b"\x89PNG\r\n\x1a\n" + secret * 10).message


STARTS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"\xff\xd8\xff\xe1\x00\x40Exif\0\0MM",
    b"RIFF\x40\0\0\0WEBPVP8",
]
WHOLE = [
    file(with_hole(16, 16)),
    file(quarters(16, 16), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
    file(quarters(16, 16), "JPEG", progressive=True),
    file(with_hole(16, 16), "WEBP", lossless=True),
    file(quarters(16, 16), "WEBP"),
    file(Image.fromarray(np.full((16, 16), 7, np.uint16))),
    file(quarters(16, 16).convert("P")),
]


@st.composite
def altered(draw: Callable[..., Any]) -> bytes:
    """A whole file with some of it overwritten, cut out, doubled, or put in."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        piece = draw(st.binary(max_size=8))
        until = at + draw(st.integers(0, 8))
        content[at:until] = piece * draw(st.sampled_from([1, 1, 1, 50]))
    return bytes(content)


FOREIGN = st.one_of(
    st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=200)),
    altered(),
)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # where it goes on with a broken file, it says so
@settings(max_examples=300, deadline=None)
@given(content=FOREIGN, mask=st.one_of(st.none(), FOREIGN))
def test_whatever_is_sent_is_a_picture_or_is_refused_by_name(content: bytes, mask: bytes | None) -> None:
    try:
        opened: Opened | RequestInvalid = open_picture(content, mask, SIZE)
    except RequestInvalid as error:
        opened = error
    if isinstance(opened, RequestInvalid):
        assert opened.param in ("image", "mask")
    else:
        assert opened.pixels.shape == (32, 32, 3)
        assert opened.mask is None or set(np.unique(opened.mask)) <= {0, 255}


def test_a_file_whose_credentials_cannot_be_read_is_refused_before_anything_is_drawn(
    credentials: Credentials, published: dict[Any, bytes]
) -> None:
    for content in published.values():
        assert open_original(content, None, SIZE, credentials).pixels.shape == (32, 32, 3)
