"""What each number says about pictures whose faults are known."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from bowerbird.curation.banding import banding_index
from bowerbird.curation.duplicates import fingerprint, nearly_equal
from bowerbird.curation.measures import MEASURES, contrast, exposure, hard_facts, sharpness
from bowerbird.curation.view import View

Pixels = NDArray[np.uint8]

RAMP = np.tile(np.linspace(0, 255, 256), (256, 1))


def facts_of(pixels: Pixels) -> list[str]:
    view = View(pixels)
    return hard_facts(MEASURES, {measure.name: measure.of(view) for measure in MEASURES})


def grey(luma: NDArray[np.float64]) -> Pixels:
    return np.repeat(luma.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def noisy(pixels: Pixels, deviation: float) -> Pixels:
    noise = np.random.default_rng(7).normal(0, deviation, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def test_nothing_speaks_against_a_drawn_bird(birds: list[Pixels]) -> None:
    assert [facts_of(bird) for bird in birds] == [[], [], [], []]


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_frame_of_one_colour_is_blank_and_only_blank(level: int) -> None:
    assert facts_of(np.full((64, 64, 3), level, np.uint8)) == ["blank"]


def test_a_nearly_uniform_frame_is_blank_although_it_has_grain() -> None:
    assert facts_of(noisy(np.full((128, 128, 3), 90, np.uint8), 2.0)) == ["blank"]


def test_a_heavily_blurred_bird_is_rejected(birds: list[Pixels]) -> None:
    assert facts_of(np.asarray(cv2.GaussianBlur(birds[0], (0, 0), 2.0), np.uint8)) == ["blurred"]


def test_a_frame_of_noise_is_not_taken_for_a_sharp_picture() -> None:
    assert facts_of(noisy(np.full((128, 128, 3), 128, np.uint8), 40.0)) == ["noise"]


def test_each_blur_makes_a_bird_less_sharp(birds: list[Pixels]) -> None:
    steps = [birds[1], *(np.asarray(cv2.GaussianBlur(birds[1], (0, 0), sigma), np.uint8) for sigma in (0.5, 1.0, 2.0))]
    values = [sharpness(View(step)) for step in steps]
    assert values == sorted(values, reverse=True)


def test_sharpness_does_not_depend_on_contrast(birds: list[Pixels]) -> None:
    pale = (birds[0] // 2 + 64).astype(np.uint8)
    assert contrast(View(pale)) < 0.6 * contrast(View(birds[0]))
    assert sharpness(View(pale)) == pytest.approx(sharpness(View(birds[0])), rel=0.1)


def test_a_large_picture_is_measured_at_512_pixels() -> None:
    wide = np.zeros((300, 1200, 3), np.uint8)
    assert View(wide).small_luma.shape == (128, 512)
    assert View(wide[:, :400]).small_luma.shape == (300, 400)


def test_exposure_is_the_share_of_clipped_pixels() -> None:
    pixels = np.full((10, 10, 3), 128, np.uint8)
    pixels[:2] = 0
    pixels[-1] = 255
    assert exposure(View(pixels)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "smooth",
    [
        RAMP.round(),
        RAMP.round().T,
        RAMP.round() + np.random.default_rng(0).integers(0, 2, RAMP.shape),
        np.full((256, 256), 90.0),
        np.zeros((16, 16)),
    ],
    ids=["ramp", "vertical ramp", "ramp with one level of dither", "flat", "too small to tell"],
)
def test_a_smooth_gradient_has_no_banding(smooth: NDArray[np.float64]) -> None:
    assert banding_index(smooth.clip(0, 255).astype(np.uint8)) == pytest.approx(0, abs=1e-6)


def test_banding_grows_as_a_ramp_loses_bits() -> None:
    bits_7, bits_6, bits_5 = (banding_index((RAMP // step * step).astype(np.uint8)) for step in (2, 4, 8))
    assert 0 < bits_7 < bits_6 < bits_5
    assert bits_5 > 0.3


def test_a_posterised_bird_has_more_banding_than_the_bird(birds: list[Pixels]) -> None:
    for bird in birds:
        assert banding_index(View(bird // 8 * 8).luma) > 1.5 * banding_index(View(bird).luma)


def test_steps_that_an_average_would_hide_are_seen_in_a_large_picture() -> None:
    large = np.tile(np.linspace(0, 255, 1024), (1024, 1)).astype(np.uint8) // 8 * 8
    assert banding_index(large) > 0.3


def test_copies_are_near_duplicates_and_other_birds_are_not(birds: list[Pixels]) -> None:
    original = fingerprint(View(birds[0]))
    file = io.BytesIO()
    Image.fromarray(birds[0]).save(file, "JPEG", quality=50)
    half = np.asarray(cv2.resize(birds[0], (128, 128), interpolation=cv2.INTER_AREA), np.uint8)
    copies = [np.asarray(Image.open(file)), half, noisy(birds[0], 5.0), (birds[0] * 0.9).astype(np.uint8)]
    assert all(nearly_equal(original, fingerprint(View(copy))) for copy in copies)
    assert not any(nearly_equal(original, fingerprint(View(bird))) for bird in birds[1:])


def test_a_fingerprint_is_the_one_that_imagehash_computes() -> None:
    y, x = np.mgrid[:80, :96]
    bands = [(x * y * 7 + x * x * 3) % 256, (x * 5 + y * y) % 256, (x * 3 + y * 11) % 256]
    bits = np.packbits(fingerprint(View(np.stack(bands, axis=-1).astype(np.uint8)))).tobytes().hex()
    # str(imagehash.phash(Image.fromarray(…), hash_size=16)) of ImageHash 4.3.2
    assert bits == "804025ce84c624de055a0cd40fa70cdfacf90fad08e95e7f58a950afff7bd1b1"


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 48), st.integers(1, 48), st.just(3)),
        elements=st.integers(0, 255),
        fill=st.integers(0, 255),
    )
)
def test_every_value_of_every_frame_lies_in_the_stated_range(pixels: Pixels) -> None:
    view = View(pixels)
    for measure in MEASURES:
        assert measure.minimum <= measure.of(view) <= measure.maximum
