"""A clip's file, decoded again by others than who wrote it: frames, timing, colour, what it says of itself."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from bowerbird.contracts import ClipFormat, Origin, PolicyReference, PublishClip
from bowerbird.curation.clips.boxes import SAMPLE_ENTRY_BYTES, boxes, inside
from bowerbird.curation.clips.encoding import encode_clip
from bowerbird.curation.clips.timing import durations
from bowerbird.curation.encoding import COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, TRAINED_ALGORITHMIC_MEDIA
from bowerbird.curation.xmp import digital_source_type
from tests.unit.curation.clips.moving import Clip, crossing, psnr

DIGEST = "sha256:" + "ab" * 32
ORIGIN = Origin(
    request_id="req_1",
    trace_id=None,
    model="fledgling-motion",
    model_digest=DIGEST,
    seed_digests=[DIGEST],
    policy=PolicyReference(id="default", version="1", digest=DIGEST),
    services={},
)
FORMATS = list(ClipFormat)


def wanted(output_format: ClipFormat, frames: int = 24, fps: float = 24, quality: int = 80) -> PublishClip:
    return PublishClip(
        frames=frames,
        frames_per_second=fps,
        drawn_frames=frames,
        format=output_format,
        quality=quality,
        origin=ORIGIN,
    )


def decoded(content: bytes, output_format: ClipFormat) -> tuple[Clip, list[float]]:
    """Frames, and for how many seconds each is shown."""
    if output_format is ClipFormat.MP4:
        table = _sample_table(content)
        (ticks,) = struct.unpack_from(">I", inside(content, b"moov", b"trak", b"mdia", b"mdhd"), 12)
        lengths = struct.iter_unpack(">2I", inside(table, b"stts")[8:])
        seconds = [length / ticks for count, length in lengths for _ in range(count)]
        content = _as_avif(content)
    with Image.open(io.BytesIO(content)) as file:
        frames, shown = [], []
        for frame in ImageSequence.Iterator(file):
            frames.append(np.asarray(frame.convert("RGB")))
            shown.append(frame.info.get("duration", 0) / 1000)
    return np.stack(frames), seconds if output_format is ClipFormat.MP4 else shown


def _sample_table(content: bytes) -> bytes:
    return inside(content, b"moov", b"trak", b"mdia", b"minf", b"stbl")


def _as_avif(content: bytes) -> bytes:
    """The same boxes under the name that Pillow reads."""
    return content.replace(b"ftypiso6", b"ftypavis", 1).replace(
        b"hdlr\0\0\0\0\0\0\0\0vide", b"hdlr\0\0\0\0\0\0\0\0pict", 1
    )


@pytest.fixture(scope="module")
def clip() -> Clip:
    return crossing()


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_frame_comes_back_in_its_colours_and_for_as_long(clip: Clip, output_format: ClipFormat) -> None:
    frames, seconds = decoded(encode_clip(clip, wanted(output_format)), output_format)
    assert frames.shape == clip.shape
    assert psnr(frames, clip) > 28
    # No tint: another colour matrix, or another range, on the way back shifts every pixel.
    shift = frames.astype(np.float64).mean(axis=(0, 1, 2)) - clip.astype(np.float64).mean(axis=(0, 1, 2))
    assert np.abs(shift).max() < 1.5
    assert sum(seconds) == pytest.approx(1.0, abs=0.006)
    assert max(seconds) - min(seconds) < 0.011


@pytest.mark.parametrize("output_format", FORMATS)
def test_frames_are_not_mixed_up(output_format: ClipFormat) -> None:
    clip = crossing(frames=8, speed=6)
    frames, _ = decoded(encode_clip(clip, wanted(output_format, 8, 8)), output_format)
    for number, frame in enumerate(frames):
        assert max(range(8), key=lambda other: psnr(frame[None], clip[other][None])) == number


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_file_says_that_a_model_made_it(clip: Clip, output_format: ClipFormat) -> None:
    assert digital_source_type(encode_clip(clip[:2], wanted(output_format, 2))) == TRAINED_ALGORITHMIC_MEDIA
    edited = encode_clip(clip[:2], wanted(output_format, 2), COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA)
    assert digital_source_type(edited) == COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA


@pytest.mark.parametrize("output_format", [ClipFormat.WEBP, ClipFormat.MP4])
def test_quality_is_what_bytes_are_spent_on(clip: Clip, output_format: ClipFormat) -> None:
    low, high = (encode_clip(clip, wanted(output_format, quality=each)) for each in (30, 90))
    assert len(low) < 0.6 * len(high)
    assert psnr(decoded(low, output_format)[0], clip) < psnr(decoded(high, output_format)[0], clip)


@pytest.mark.parametrize("output_format", [ClipFormat.GIF, ClipFormat.WEBP])
def test_what_browsers_show_as_pictures_repeats_for_ever(clip: Clip, output_format: ClipFormat) -> None:
    with Image.open(io.BytesIO(encode_clip(clip[:3], wanted(output_format, 3)))) as file:
        assert file.info["loop"] == 0


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_clip_in_which_hardly_anything_happens_is_as_long_as_another(output_format: ClipFormat) -> None:
    still = np.repeat(crossing(frames=2)[:1], 24, axis=0)
    still[-1, :8, :8] = 255
    frames, seconds = decoded(encode_clip(still, wanted(output_format)), output_format)
    assert sum(seconds) == pytest.approx(1.0, abs=0.006)
    assert psnr(frames, still[: len(frames)]) > 28


def test_an_mp4_can_be_played_before_all_of_it_is_there(clip: Clip) -> None:
    content = encode_clip(clip, wanted(ClipFormat.MP4))
    assert [kind for kind, _ in boxes(content)] == [b"ftyp", b"moov", b"uuid", b"mdat"]


def test_an_mp4_has_even_sides_as_its_halved_colours_need() -> None:
    odd = crossing(frames=3, side=65)
    frames, _ = decoded(encode_clip(odd, wanted(ClipFormat.MP4, 3)), ClipFormat.MP4)
    assert frames.shape == (3, 64, 64, 3)


def test_an_mp4_has_halved_colours_as_every_player_reads_them(clip: Clip) -> None:
    """AV1CodecConfigurationRecord (AV1 in ISOBMFF, 2.3.3): monochrome, halved across, halved down."""
    entry = inside(_sample_table(encode_clip(clip[:2], wanted(ClipFormat.MP4, 2))), b"stsd")[8:]
    configuration = inside(inside(entry, b"av01")[SAMPLE_ENTRY_BYTES:], b"av1C")
    assert [configuration[2] >> bit & 1 for bit in (4, 3, 2)] == [0, 1, 1]


def test_a_gif_spends_nothing_on_what_does_not_change() -> None:
    still = np.repeat(crossing(frames=2)[:1], 12, axis=0)
    still[1::2, :8, :8] = 255
    all_of_it = np.stack([np.roll(each, 5 * number, axis=1) for number, each in enumerate(still)])
    small, large = (len(encode_clip(each, wanted(ClipFormat.GIF, 12))) for each in (still, all_of_it))
    assert small < 0.3 * large


def test_one_colour_of_a_still_background_is_the_same_in_every_frame_of_a_gif(clip: Clip) -> None:
    frames, _ = decoded(encode_clip(clip, wanted(ClipFormat.GIF)), ClipFormat.GIF)
    left: NDArray[np.uint8] = frames[:, :, :8]
    assert (left == left[0]).all()


@given(st.integers(2, 120), st.floats(1, 24), st.sampled_from([100, 1000]))
def test_rounded_times_do_not_add_up_to_another_length(count: int, fps: float, ticks_per_second: int) -> None:
    ticks = durations(count, fps, ticks_per_second)
    assert len(ticks) == count
    assert abs(sum(ticks) - count * ticks_per_second / fps) <= 0.5
    assert max(ticks) - min(ticks) <= 1
    assert min(ticks) >= 4


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"\0\0\0\7free", b"\0\0\0\x10free", b"\0\0\1\0moov"],
    ids=["nothing", "head", "7", "cut", "moov"],
)
def test_what_is_no_box_is_told_from_one(content: bytes) -> None:
    with pytest.raises(ValueError, match="box"):
        inside(content, b"moov")
