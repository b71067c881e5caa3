"""Who shares a batch changes nothing in a picture; a picture that diverges is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.engine.bundle import SAMPLERS, Bundle
from bowerbird.engine.cpu import CpuBackend
from bowerbird.engine.denoiser import Denoiser, DrawingDiverged, Group
from bowerbird.engine.sampler import read_sampler_tables

from .tiny_bundle import LENGTH, MAX_STEPS, WIDTH, Tiny, write_tiny_bundle


@pytest.fixture(scope="module")
def denoiser(bundle: Bundle) -> Denoiser:
    return Denoiser(CpuBackend(threads=1).load(bundle.path("denoiser.onnx")))


@pytest.fixture(scope="module")
def new_group(bundle: Bundle) -> type[Group]:
    tables = read_sampler_tables(bundle.path(SAMPLERS))

    def make(seed: int, steps: int, guidance_scale: float, index: int = 0) -> Group:
        random = np.random.default_rng(seed)
        positive, negative = random.standard_normal((2, LENGTH, WIDTH)).astype(np.float32)
        return Group(
            index=index,
            seed=seed,
            table=tables[steps],
            guidance_scale=guidance_scale,
            positive=positive,
            negative=None if guidance_scale == 1 else negative,
            latent_shape=(4, 8, 8),
        )

    return make  # type: ignore[return-value]


GROUPS = st.tuples(st.integers(0, 2**63 - 1), st.integers(1, MAX_STEPS), st.sampled_from([1.0, 2.0, 7.5]))


@settings(max_examples=30, deadline=None)
@given(picture=GROUPS, mates=st.lists(st.tuples(GROUPS, st.integers(0, MAX_STEPS)), max_size=5))
def test_a_picture_is_the_same_alone_and_in_any_company(
    denoiser: Denoiser,
    new_group: type[Group],
    picture: tuple[int, int, float],
    mates: list[tuple[tuple[int, int, float], int]],
) -> None:
    """Mates are other requests: with their own steps, guidance and prompts, joining and leaving between steps."""
    alone = new_group(*picture)
    while not alone.finished:
        denoiser.step([alone])
    accompanied = new_group(*picture)
    waiting = sorted(((join, new_group(*each)) for each, join in mates), key=lambda pair: pair[0])
    present: list[Group] = []
    for step in range(accompanied.table.calls):
        present += [group for join, group in waiting if join == step]
        present = [group for group in present if not group.finished]
        denoiser.step([*present, accompanied])
    assert accompanied.finished
    np.testing.assert_allclose(accompanied.latents, alone.latents, rtol=0, atol=1e-4)


def test_a_guided_picture_takes_two_rows(new_group: type[Group]) -> None:
    assert new_group(1, 2, 3.0).rows == 2
    assert new_group(1, 2, 1.0).rows == 1


def test_guidance_moves_from_the_negative_prompt_beyond_the_positive(
    denoiser: Denoiser, new_group: type[Group]
) -> None:
    """The output is linear in the guidance scale, and scale 1 is the positive prompt alone."""
    plain, double, triple = (new_group(5, 1, scale) for scale in (1.0, 2.0, 3.0))
    denoiser.step([plain, double, triple])
    np.testing.assert_allclose(triple.latents - double.latents, double.latents - plain.latents, atol=1e-4)


def test_a_picture_that_diverges_is_named_with_its_step_and_nothing_moves(
    tmp_path: Path, new_group: type[Group]
) -> None:
    broken = write_tiny_bundle(tmp_path / "broken", Tiny(gain=float(np.float16(6e4))))
    denoiser = Denoiser(CpuBackend(threads=1).load(broken.path("denoiser.onnx")))
    group = new_group(5, 8, 2.0, index=3)
    group.state *= np.float32(1e30)
    before = group.state.copy()
    with pytest.raises(DrawingDiverged, match="Frame 3 became NaN or infinite in step 1 of 8"):
        denoiser.step([group])
    assert group.call == 0
    np.testing.assert_array_equal(group.state, before)
