"""OpenVINO computes what ONNX Runtime computes, from the same graphs; skipped where the extra is not installed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.backend import BackendFailed
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.backends.openvino import BLOB, OpenVinoBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BundleInvalid

from .test_cpu import LORA_USES, lora_banks, rows
from .tiny_bundle import Tiny, write_tiny_bundle

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # as OpenVinoBackend does
pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

TOLERANCE = 0.05
"""Of bfloat16, where the CPU has it; float32 stays within 1e-5."""


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_it_computes_what_onnx_runtime_computes(bundle: Bundle, tmp_path: Path, cached: bool, count: int) -> None:
    plain = CpuBackend(1).load(bundle.path("denoiser.onnx")).run(rows(count))["output"]
    for _ in ("made", "found"):
        backend = OpenVinoBackend(2, cache=tmp_path if cached else None)
        session = backend.load(bundle.path("denoiser.onnx"), rowwise=True, key=bundle.part_digest("denoiser"))
        output = session.run(rows(count))["output"]
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, plain, rtol=TOLERANCE, atol=TOLERANCE)
    assert len(list(tmp_path.rglob(BLOB))) == cached


def test_it_reads_lora_banks(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "tiny", Tiny(lora=True)).path("denoiser_lora.onnx")
    outputs = []
    for backend in (CpuBackend(1), OpenVinoBackend(1)):
        banks = {name: backend.resident(bank) for name, bank in lora_banks().items()}
        outputs.append(backend.load(path).run({**rows(2), **LORA_USES, **banks})["output"])
    plain, output = outputs
    np.testing.assert_allclose(plain, output, rtol=TOLERANCE, atol=TOLERANCE)


def test_several_threads_may_run_it_at_once(bundle: Bundle) -> None:
    session = OpenVinoBackend(1).load(bundle.path("denoiser.onnx"))
    expected = {count: session.run(rows(count))["output"] for count in (1, 2, 3)}
    with ThreadPoolExecutor(3) as threads:
        for count, output in zip(
            [1, 2, 3] * 5, threads.map(lambda n: session.run(rows(n)), [1, 2, 3] * 5), strict=True
        ):
            np.testing.assert_allclose(output["output"], expected[count], rtol=1e-5, atol=1e-5)


def test_an_answer_is_not_overwritten_by_the_next_run(bundle: Bundle) -> None:
    session = OpenVinoBackend(1).load(bundle.path("denoiser.onnx"))
    first = session.run(rows(2))["output"]
    kept = first.copy()
    session.run({name: value * 2 for name, value in rows(2).items()})
    assert np.array_equal(first, kept)


def test_a_run_that_fails_leaves_its_session_sound(bundle: Bundle) -> None:
    session = OpenVinoBackend(1).load(bundle.path("denoiser.onnx"))
    with pytest.raises(BackendFailed, match="OpenVINO"):
        session.run(rows(1) | {"sample": np.zeros((1, 3, 8, 8), np.float32)})
    assert session.run(rows(1))["output"].shape == (1, 4, 8, 8)


def test_a_graph_that_it_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(BundleInvalid, match=r"OpenVINO \S+ cannot load .*noise\.onnx"):
        OpenVinoBackend(1).load(tmp_path / "noise.onnx")


def test_its_vendor_is_not_called(bundle: Bundle) -> None:
    OpenVinoBackend(1)
    assert sys.modules["openvino_telemetry"] is None
