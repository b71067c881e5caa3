"""A run that nobody waits for ends within it, between two operators; the same session then computes as before."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bowerbird.engine.backend import Array, RunInterrupted
from bowerbird.engine.backends.cpu import CpuBackend

from .tiny_graph import model, port, random_weights

SIDE, LAYERS, MANY_ROWS = 512, 100, 16
"""Of this many rows some seconds of work on one core; a run is looked at between two layers."""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """One matrix product after the other."""
    names = ["sample", *(f"layer_{number}" for number in range(1, LAYERS)), "output"]
    nodes = []
    for before, after in pairwise(names):
        nodes.append(helper.make_node("MatMul", [before, "weight"], [f"{after}_product"]))
        nodes.append(helper.make_node("Tanh", [f"{after}_product"], [after]))
    shape = ("batch", SIDE, SIDE)
    ports = [port("sample", TensorProto.FLOAT, *shape)], [port("output", TensorProto.FLOAT, *shape)]
    path = tmp_path / "graph.onnx"
    onnx.save(model(nodes, ports, {"weight": random_weights(0, SIDE, SIDE)}), path)
    return path


@pytest.mark.parametrize("rowwise", [False, True])
def test_a_run_that_is_interrupted_ends_and_the_next_computes(graph: Path, rowwise: bool) -> None:
    backend = CpuBackend(1)
    session = backend.load(graph, rowwise=rowwise)

    def run(rows: int) -> Array:
        return session.run({"sample": np.ones((rows, SIDE, SIDE), np.float32)})["output"]

    expected = run(1)
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.01):
            backend.interrupt()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        with pytest.raises(RunInterrupted):
            run(MANY_ROWS)
    finally:
        ended.set()
        interrupting.join()
    np.testing.assert_array_equal(run(1), expected)


def test_an_interrupt_with_nothing_in_flight_does_nothing(graph: Path) -> None:
    backend = CpuBackend(1)
    session = backend.load(graph)
    backend.interrupt()
    session.run({"sample": np.ones((1, SIDE, SIDE), np.float32)})
