"""On a CPU a batch is computed row by row, and whoever shares it changes no bit of a row."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.backend import Array, BackendFailed, Input
from bowerbird.engine.backends.cpu import CpuBackend, CpuSession, HostArray, RowwiseSession
from bowerbird.engine.backends.onnx_runtime import CPU, open_session, session_options
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BundleInvalid

from .tiny_bundle import LENGTH, WIDTH, Tiny, write_tiny_bundle

SLOTS, LAYERS, RANK, FEATURES = 3, 2, 4, 4


LORA_USES: dict[str, Array] = {
    "lora_slots": np.array([[1, 0], [2, 1]], np.int64),
    "lora_weights": np.array([[1.0, 0.0], [0.5, -1.0]], np.float32),
}


def lora_banks() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {
        "lora_4x4_down": random.standard_normal((SLOTS, LAYERS, RANK, FEATURES)).astype(np.float32),
        "lora_4x4_up": random.standard_normal((SLOTS, LAYERS, FEATURES, RANK)).astype(np.float32),
    }


def rows(count: int) -> dict[str, Array]:
    random = np.random.default_rng(count)
    return {
        "sample": random.standard_normal((count, 4, 8, 8)).astype(np.float32),
        "timestep": random.uniform(0, 1000, count).astype(np.float32),
        "states": random.standard_normal((count, LENGTH, WIDTH)).astype(np.float32),
    }


def one(batch: dict[str, Array], row: int) -> dict[str, Array]:
    return {name: value[row : row + 1] for name, value in batch.items()}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_row_is_the_same_bits_in_any_batch(
    bundle: Bundle, tmp_path: Path, cached: bool, threads: int, count: int
) -> None:
    backend = CpuBackend(threads, cache=tmp_path if cached else None)
    session = backend.load(bundle.path("denoiser.onnx"), rowwise=True, key=bundle.part_digest("denoiser"))
    batch = rows(count)
    together = session.run(batch)["output"]
    for row in range(count):
        assert np.array_equal(together[row : row + 1], session.run(one(batch, row))["output"])


def test_row_by_row_computes_what_one_run_computes(bundle: Bundle) -> None:
    rowwise, whole = (CpuBackend(2).load(bundle.path("denoiser.onnx"), rowwise=each) for each in (True, False))
    np.testing.assert_allclose(rowwise.run(rows(4))["output"], whole.run(rows(4))["output"], rtol=1e-5, atol=1e-5)


class CountingSession(CpuSession):
    """Knows how often it ran."""

    runs = 0

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `CpuSession.run`."""
        self.runs += 1
        return super().run(inputs)


@pytest.mark.parametrize(("count", "narrow_runs", "wide_runs"), [(1, 0, 1), (2, 2, 0), (4, 4, 0), (5, 4, 1)])
def test_full_sets_of_rows_take_a_thread_each_and_a_row_that_is_left_takes_all(
    bundle: Bundle, count: int, narrow_runs: int, wide_runs: int
) -> None:
    graph = bundle.path("denoiser.onnx")
    narrow, wide = (CountingSession(open_session(graph, session_options(each, {}), [CPU])) for each in (1, 2))
    loaded: list[CountingSession] = []

    def load() -> CpuSession:
        loaded.append(wide)
        return wide

    with ThreadPoolExecutor(1) as callers:
        session = RowwiseSession(narrow, load, callers, at_once=2)
        for _ in range(2):
            session.run(rows(count))
    assert (narrow.runs, wide.runs) == (2 * narrow_runs, 2 * wide_runs)
    assert len(loaded) == bool(wide_runs)  # not before a row is left, and once


@pytest.mark.parametrize("cached", [True, False])
def test_all_rows_read_the_same_lora_banks(tmp_path: Path, cached: bool) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny", Tiny(lora=True))
    backend = CpuBackend(2, cache=tmp_path / "cache" if cached else None)
    key = bundle.part_digest("denoiser_lora")
    session = backend.load(bundle.path("denoiser_lora.onnx"), rowwise=True, key=key)
    banks = {name: backend.resident(bank) for name, bank in lora_banks().items()}
    batch = rows(2) | LORA_USES
    together = session.run({**batch, **banks})["output"]
    for row in range(2):
        assert np.array_equal(together[row : row + 1], session.run({**one(batch, row), **banks})["output"])
    assert np.array_equal(together, session.run(batch | lora_banks())["output"])


def test_what_is_written_into_a_resident_is_read_by_the_next_run() -> None:
    bank = HostArray(np.zeros((3, 2, 2), np.float32))
    bank.write(1, np.ones((2, 2), np.float32))
    assert bank.array.sum() == bank.array[1].sum() == 4
    assert (bank.shape, bank.dtype) == ((3, 2, 2), np.dtype(np.float32))


def test_a_resident_is_a_copy() -> None:
    array = np.ones((2, 2), np.float32)
    bank = HostArray(array)
    array[:] = 5
    assert bank.array.max() == 1


def test_a_run_that_fails_leaves_its_session_sound(bundle: Bundle) -> None:
    session = CpuBackend(2).load(bundle.path("denoiser.onnx"), rowwise=True)
    with pytest.raises(BackendFailed, match=r"ONNX Runtime 1\."):
        session.run(rows(2) | {"sample": np.zeros((2, 3, 8, 8), np.float32)})
    assert session.run(rows(2))["output"].shape == (2, 4, 8, 8)


def test_without_a_number_it_takes_the_cores_it_may_use() -> None:
    backend = CpuBackend()
    assert backend.threads >= 1
    assert backend.efficient_rows == max(2, backend.threads)


@pytest.mark.parametrize("cached", [True, False])
def test_a_graph_that_the_runtime_cannot_read_is_named(tmp_path: Path, cached: bool) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    backend = CpuBackend(cache=tmp_path / "cache" if cached else None)
    with pytest.raises(BundleInvalid, match=r"ONNX Runtime 1\.\S+ cannot load .*noise\.onnx"):
        backend.load(tmp_path / "noise.onnx", key="0" * 64)
