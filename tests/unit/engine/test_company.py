"""The same bundle, seed and parameters give the same picture, whoever shares its batches.

Mates are other requests of any size, guidance, LoRA and length; they join, leave and end between any two turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine.backend import Floats
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.core import EngineCore
from bowerbird.engine.drawing import Engine
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Claim, Work

from .gated_backend import GatedBackend
from .half_backend import HalfBackend
from .tiny_bundle import LORA_MODULES, MAX_STEPS, WIDTH, Tiny, write_tiny_bundle

LORAS = ("crayon", "ink")


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    for number, name in enumerate(LORAS):
        random = np.random.default_rng(number)
        pairs = {
            f"{component}.{module}.{key}.weight": random.standard_normal(shape).astype(np.float32)
            for component in ("denoiser", "text_encoder")
            for module in LORA_MODULES
            for key, shape in (("lora_A", (number + 2, WIDTH)), ("lora_B", (WIDTH, number + 2)))
        }
        save_file(pairs, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With LoRA banks and two sizes."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "wide", Tiny(lora=True, more_sides=(24,)))


@pytest.fixture(scope="module")
def batched(wide: Bundle, loras: Path) -> Engine:
    """Batches of up to six rows, each one run."""
    return Engine(wide, GatedBackend(efficient_rows=6, gate_open=True), loras=loras)


@pytest.fixture(scope="module")
def rowwise(wide: Bundle, loras: Path) -> Engine:
    """The CPU's own way: rows side by side on two threads."""
    return Engine(wide, CpuBackend(threads=2), loras=loras)


@pytest.fixture(scope="module")
def half(wide: Bundle, loras: Path) -> Engine:
    """In fp16, with other bits for each size of a batch."""
    return Engine(wide, HalfBackend(efficient_rows=6), loras=loras)


@pytest.fixture(scope="module")
def fixed(wide: Bundle, loras: Path) -> Engine:
    """The same with one size for all batches."""
    return Engine(wide, HalfBackend(efficient_rows=6), loras=loras, fixed_batch=True)


@dataclass(frozen=True)
class Mate:
    """A request that joins before turn `joins` and leaves before turn `leaves`, if it has not ended by then."""

    request: DrawRequest
    joins: int
    leaves: int
    flow: str


def requests(**fixed: Any) -> st.SearchStrategy[DrawRequest]:
    usual: dict[str, st.SearchStrategy[Any]] = {
        "prompt": st.sampled_from(["a small red bird", "a blue branch", "bird"]),
        "size": st.sampled_from([Size(width=16, height=16), Size(width=24, height=24)]),
        "steps": st.integers(1, MAX_STEPS),
        "guidance_scale": st.sampled_from([1.0, 2.0, 7.5]),
        "seed": st.integers(0, 2**63 - 1),
        "count": st.integers(1, 3),
        "lora": st.lists(st.builds(dict, id=st.sampled_from(LORAS), weight=st.floats(-1, 1)), max_size=2),
        "preview_steps": st.integers(0, 3),
        "max_previews": st.integers(1, 2),
    }
    return st.fixed_dictionaries(usual | {name: st.just(value) for name, value in fixed.items()}).map(
        DrawRequest.model_validate
    )


MATES = st.lists(
    st.builds(Mate, requests(), st.integers(0, 20), st.integers(1, 60), st.sampled_from("abc")), max_size=4
)


def latents(engine: Engine, request: DrawRequest, mates: Sequence[Mate] = ()) -> list[Floats]:
    """Of each finished frame of the request."""
    core = EngineCore(engine)
    present: dict[int, Work[Drawing]] = {}
    target = engine.work(engine.order(request), Claim(time.monotonic() + 600, flow="a"))
    core.admit(target)
    turn = 0
    while not target.ended:
        for number, mate in enumerate(mates):
            if mate.joins == turn:
                work = engine.work(engine.order(mate.request), Claim(time.monotonic() + 600, flow=mate.flow))
                core.admit(work)
                present[number] = work
            if mate.leaves == turn and number in present:
                core.end(present.pop(number))
        for each in core.turn():
            assert each.error is None
        turn += 1
    for work in list(core.works):
        core.end(work)
    return [group.latents for group in target.owner.groups]


@settings(max_examples=25, deadline=None)
@given(request=requests(), mates=MATES)
def test_a_picture_is_the_same_alone_and_in_any_company(
    batched: Engine, request: DrawRequest, mates: list[Mate]
) -> None:
    for accompanied, alone in zip(latents(batched, request, mates), latents(batched, request), strict=True):
        np.testing.assert_allclose(accompanied, alone, rtol=0, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(request=requests(guidance_scale=2.0), mates=MATES)
def test_row_by_row_a_guided_picture_is_the_same_bits(rowwise: Engine, request: DrawRequest, mates: list[Mate]) -> None:
    for accompanied, alone in zip(latents(rowwise, request, mates), latents(rowwise, request), strict=True):
        np.testing.assert_array_equal(accompanied, alone)


@settings(max_examples=25, deadline=None)
@given(request=requests(), mates=MATES)
def test_in_sixteen_bits_a_picture_is_nearly_the_same(half: Engine, request: DrawRequest, mates: list[Mate]) -> None:
    for accompanied, alone in zip(latents(half, request, mates), latents(half, request), strict=True):
        assert psnr_db(*(half.decoder.frame(each) for each in (accompanied, alone))) >= 35


@settings(max_examples=15, deadline=None)
@given(request=requests(), mates=MATES)
def test_in_sixteen_bits_and_a_fixed_batch_shape_it_is_the_same_bits(
    fixed: Engine, request: DrawRequest, mates: list[Mate]
) -> None:
    for accompanied, alone in zip(latents(fixed, request, mates), latents(fixed, request), strict=True):
        np.testing.assert_array_equal(accompanied, alone)


def test_in_sixteen_bits_company_does_change_bits(half: Engine, request_of: Callable[..., DrawRequest]) -> None:
    mates = [Mate(request_of(seed=8), 0, 60, "b")]
    assert np.any(latents(half, request_of(), mates)[0] != latents(half, request_of())[0])


def psnr_db(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 10 * np.log10(255**2 / error) if error else np.inf


def test_a_lora_changes_its_own_rows_only(batched: Engine, request_of: Callable[..., DrawRequest]) -> None:
    plain, crayon = request_of(), request_of(lora=[{"id": "crayon", "weight": 1.0}])
    mates = [Mate(crayon, 0, 60, "b"), Mate(request_of(lora=[{"id": "ink"}]), 0, 60, "c")]
    np.testing.assert_allclose(latents(batched, plain, mates)[0], latents(batched, plain)[0], atol=1e-4)
    assert np.abs(latents(batched, crayon)[0] - latents(batched, plain)[0]).max() > 1e-2
