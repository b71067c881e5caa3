"""What runtimes say is understood as a fact of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.engine.backend import BackendFailed, DeviceLost, OutOfMemory
from bowerbird.engine.backends.runtime_errors import failing_load, failing_run
from bowerbird.errors import BundleInvalid

OUT_OF_MEMORY = [
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc:376 Failed to allocate memory for requested buffer",
    "[ONNXRuntimeError] : 1 : FAIL : BFCArena: Available memory of 5 is smaller than requested bytes of 7",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size)",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
]


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_memory_that_ran_out_is_a_fact_of_its_own(text: str) -> None:
    with pytest.raises(OutOfMemory) as caught, failing_run("ONNX Runtime"):
        raise RuntimeError(text)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(OutOfMemory, match=r"a\.onnx"), failing_load("ONNX Runtime", Path("a.onnx")):
        raise RuntimeError(text)


def test_a_device_that_is_lost_is_a_fact_of_its_own() -> None:
    with pytest.raises(DeviceLost), failing_run("ONNX Runtime"):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")


def test_anything_else_is_a_failed_run_or_a_graph_that_cannot_be_loaded() -> None:
    text = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: sample"
    with pytest.raises(BackendFailed, match=r"ONNX Runtime: .*dimensions") as caught, failing_run("ONNX Runtime"):
        raise RuntimeError(text)
    assert type(caught.value) is BackendFailed
    with pytest.raises(BundleInvalid, match=r"cannot load a\.onnx"), failing_load("ONNX Runtime", Path("a.onnx")):
        raise RuntimeError("INVALID_PROTOBUF")
