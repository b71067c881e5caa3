"""Batches that are computed row by row are the same bits as rows computed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.backend import Array
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.cpu import CpuBackend
from bowerbird.errors import BundleInvalid

from .tiny_bundle import LENGTH, WIDTH


def rows(count: int) -> dict[str, Array]:
    random = np.random.default_rng(count)
    return {
        "sample": random.standard_normal((count, 4, 8, 8)).astype(np.float32),
        "timestep": random.uniform(0, 1000, count).astype(np.float32),
        "states": random.standard_normal((count, LENGTH, WIDTH)).astype(np.float32),
    }


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_row_is_the_same_bits_in_any_batch(bundle: Bundle, threads: int, count: int) -> None:
    session = CpuBackend(threads).load(bundle.path("denoiser.onnx"), rowwise=True)
    batch = rows(count)
    together = session.run(batch)["output"]
    for row in range(count):
        alone = session.run({name: value[row : row + 1] for name, value in batch.items()})["output"]
        assert np.array_equal(together[row : row + 1], alone)


def test_row_by_row_computes_what_one_run_computes(bundle: Bundle) -> None:
    rowwise, whole = (CpuBackend(2).load(bundle.path("denoiser.onnx"), rowwise=each) for each in (True, False))
    np.testing.assert_allclose(rowwise.run(rows(4))["output"], whole.run(rows(4))["output"], rtol=1e-5, atol=1e-5)


def test_without_a_number_it_takes_the_cores_it_may_use() -> None:
    assert CpuBackend().threads >= 1


def test_a_graph_that_the_runtime_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(BundleInvalid, match=r"ONNX Runtime 1\.\S+ cannot load .*noise\.onnx"):
        CpuBackend().load(tmp_path / "noise.onnx")
