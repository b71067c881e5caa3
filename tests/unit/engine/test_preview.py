"""A preview is a small picture of what the clean latents would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bowerbird.contracts import Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle, LinearPreview
from bowerbird.engine.model.decoder import Decoder, as_pixels
from bowerbird.engine.model.preview import Preview
from bowerbird.errors import BundleInvalid

from .tiny_bundle import CHANNELS, Tiny, write_tiny_bundle


def with_preview(bundle: Bundle, preview: LinearPreview | None) -> Bundle:
    drawing = bundle.drawing.model_copy(update={"preview": preview})
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"drawing": drawing}), "")


def test_the_linear_map_colours_each_latent_pixel(bundle: Bundle) -> None:
    latents = np.zeros((CHANNELS, 8, 8), np.float32)
    latents[0, 2, 3] = 1
    picture = Preview(bundle, CpuBackend(threads=1)).picture(latents)
    assert picture.shape == (8, 8, 3)
    assert picture[2, 3].tolist() == [255, 128, 140]
    assert picture[0, 0].tolist() == [128, 128, 140]


def test_a_block_lies_row_by_row_colour_by_colour(bundle: Bundle) -> None:
    """Channel k lights pixel k of the red block, so where each goes can be seen."""
    weights = np.zeros((3, 2, 2, CHANNELS))
    for channel in range(CHANNELS):
        weights[0, channel // 2, channel % 2, channel] = 1
    blocks = LinearPreview(scale=2, weights=weights.reshape(12, CHANNELS).tolist(), bias=[-1.0] * 12)
    latents = np.zeros((CHANNELS, 8, 8), np.float32)
    latents[:, 1, 2] = [0, 0.5, 1, 2]
    picture = Preview(with_preview(bundle, blocks), CpuBackend(threads=1)).picture(latents)
    assert picture.shape == (16, 16, 3)
    assert picture[2:4, 4:6, 0].tolist() == [[0, 64], [128, 255]]
    assert picture[:, :, 1:].max() == 0


def test_a_tiny_decoder_is_taken_before_the_map(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", Tiny(tiny_decoder=True))
    backend = CpuBackend(threads=1)
    latents = np.random.default_rng(0).standard_normal((CHANNELS, 8, 8)).astype(np.float32)
    picture = Preview(bundle, backend).picture(latents)
    np.testing.assert_array_equal(picture, Decoder(backend.load(bundle.path("preview.onnx"))).frame(latents))


def test_a_bundle_with_neither_says_so(bundle: Bundle) -> None:
    with pytest.raises(BundleInvalid, match="has no preview"):
        Preview(with_preview(bundle, None), CpuBackend(threads=1))


def test_pixels_are_clipped_and_rounded_half_to_even() -> None:
    values = np.array([-9, -1, 0, 1 / 255, 1, 9], np.float32)
    picture = np.broadcast_to(values, (3, 1, 6))
    assert as_pixels(np.ascontiguousarray(picture))[0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_latents_of_a_size_have_its_shape_divided(bundle: Bundle) -> None:
    assert bundle.drawing.latents.shape(Size(width=64, height=32)) == (CHANNELS, 16, 32)
