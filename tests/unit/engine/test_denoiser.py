"""Who shares a batch changes nothing in a picture; a picture that diverges is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.engine.backend import Array, Input, Session
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import SAMPLERS, Bundle
from bowerbird.engine.model.denoiser import Denoiser, Group
from bowerbird.engine.model.sampler import read_sampler_tables

from .tiny_bundle import LENGTH, MAX_STEPS, WIDTH


@pytest.fixture(scope="module")
def denoiser(bundle: Bundle) -> Denoiser:
    return Denoiser(CpuBackend(threads=1).load(bundle.path("denoiser.onnx")))


@pytest.fixture(scope="module")
def new_group(bundle: Bundle) -> Callable[..., Group]:
    tables = read_sampler_tables(bundle.path(SAMPLERS))

    def make(seed: int, steps: int, guidance_scale: float, index: int = 0) -> Group:
        random = np.random.default_rng(seed)
        positive, negative = random.standard_normal((2, LENGTH, WIDTH)).astype(np.float32)
        return Group(
            index=index,
            seed=seed,
            table=tables[steps],
            guidance_scale=guidance_scale,
            positive={"states": positive},
            negative=None if guidance_scale == 1 else {"states": negative},
            latent_shape=(4, 8, 8),
        )

    return make


GROUPS = st.tuples(st.integers(0, 2**63 - 1), st.integers(1, MAX_STEPS), st.sampled_from([1.0, 2.0, 7.5]))


@settings(max_examples=30, deadline=None)
@given(picture=GROUPS, mates=st.lists(st.tuples(GROUPS, st.integers(0, MAX_STEPS)), max_size=5))
def test_a_picture_is_the_same_alone_and_in_any_company(
    denoiser: Denoiser,
    new_group: Callable[..., Group],
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


def test_a_guided_picture_takes_two_rows(new_group: Callable[..., Group]) -> None:
    assert new_group(1, 2, 3.0).rows == 2
    assert new_group(1, 2, 1.0).rows == 1


def test_guidance_moves_from_the_negative_prompt_beyond_the_positive(
    denoiser: Denoiser, new_group: Callable[..., Group]
) -> None:
    """The output is linear in the guidance scale, and scale 1 is the positive prompt alone."""
    plain, double, triple = (new_group(5, 1, scale) for scale in (1.0, 2.0, 3.0))
    denoiser.step([plain, double, triple])
    np.testing.assert_allclose(triple.latents - double.latents, double.latents - plain.latents, atol=1e-4)


def test_a_group_that_diverged_is_named_with_its_step_and_does_not_end_its_batch_mates(
    denoiser: Denoiser, new_group: Callable[..., Group]
) -> None:
    sick, healthy, alone = new_group(5, 8, 2.0, index=3), new_group(6, 4, 2.0), new_group(6, 4, 2.0)
    sick.state[0, 1, 2, 3] = np.inf
    before = sick.state.copy()
    failed = denoiser.step([sick, healthy])
    assert list(failed) == [sick]
    assert str(failed[sick]) == "Frame 3 became NaN or infinite in step 1 of 8; another seed may succeed."
    assert sick.call == 0
    np.testing.assert_array_equal(sick.state, before)
    denoiser.step([alone])
    np.testing.assert_allclose(healthy.latents, alone.latents, rtol=0, atol=1e-6)


class Recording:
    """A session that answers as the one inside does, and tells how many rows each call had."""

    def __init__(self, inside: Session) -> None:
        self.inside = inside
        self.rows: list[int] = []

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        self.rows.append(len(inputs["sample"]))  # type: ignore[arg-type]
        return self.inside.run(inputs)


def test_with_a_fixed_batch_shape_every_call_has_it_and_dead_rows_change_nothing(
    bundle: Bundle, new_group: Callable[..., Group]
) -> None:
    recording = Recording(CpuBackend(threads=1).load(bundle.path("denoiser.onnx")))
    fixed, free = Denoiser(recording, fixed_rows=6), Denoiser(recording)
    padded, plain = new_group(5, 3, 2.0), new_group(5, 3, 2.0)
    fixed.step([padded])
    fixed.step([padded, new_group(6, 3, 1.0)])
    free.step([plain])
    free.step([plain])
    assert recording.rows == [6, 6, 2, 2]
    np.testing.assert_allclose(padded.latents, plain.latents, rtol=0, atol=1e-5)


def test_a_preview_is_kept_of_the_groups_that_are_named(denoiser: Denoiser, new_group: Callable[..., Group]) -> None:
    wanted, other = new_group(5, 4, 2.0), new_group(6, 4, 2.0)
    before = wanted.state.copy()
    denoiser.step([wanted, other], keep_clean=[wanted])
    assert other.clean is None
    assert wanted.clean is not None
    assert wanted.clean.shape == wanted.latents.shape
    assert not np.array_equal(wanted.clean, before[0])
