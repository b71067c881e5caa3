"""Buffers stay where they are, shapes have graphs of their own, and the numbers are those of a plain run."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bowerbird.engine.backend import Input, OutOfMemory
from bowerbird.engine.backends import binding
from bowerbird.engine.backends.binding import BoundSession, DeviceArray
from bowerbird.engine.backends.buckets import ROW_BUCKETS
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle

from .host_device import Host, NotingSession
from .test_cpu import FEATURES, LAYERS, RANK, SLOTS, rows
from .tiny_bundle import Tiny, write_tiny_bundle


@pytest.fixture
def noted(bundle: Bundle) -> NotingSession:
    return NotingSession(ort.InferenceSession(bundle.path("denoiser.onnx"), providers=["CPUExecutionProvider"]))


@pytest.fixture(scope="session")
def with_lora(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "lora", Tiny(lora=True))


def bank(host: Host, seed: int, rank: int = RANK) -> dict[str, DeviceArray]:
    random = np.random.default_rng(seed)
    down = random.standard_normal((SLOTS, LAYERS, rank, FEATURES)).astype(np.float32)
    up = random.standard_normal((SLOTS, LAYERS, FEATURES, rank)).astype(np.float32)
    return {"lora_4x4_down": DeviceArray(down, host), "lora_4x4_up": DeviceArray(up, host)}


def values(banks: dict[str, DeviceArray]) -> dict[str, Input]:
    return {name: each.value.numpy() for name, each in banks.items()}


def uses(count: int) -> dict[str, Input]:
    return {"lora_slots": np.full((count, 1), 1, np.int64), "lora_weights": np.ones((count, 1), np.float32)}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_any_batch_is_computed_as_a_plain_run_computes_it(bundle: Bundle, counts: list[int]) -> None:
    session = ort.InferenceSession(bundle.path("denoiser.onnx"), providers=["CPUExecutionProvider"])
    bound = BoundSession(session, Host(), capture=True)
    for count in counts:
        plain = session.run(["output"], rows(count))[0]
        np.testing.assert_allclose(bound.run(rows(count))["output"], plain, rtol=1e-5, atol=1e-5)


def test_a_shape_is_run_once_without_a_graph_and_then_with_one_of_its_own(noted: NotingSession) -> None:
    bound = BoundSession(noted, Host(), capture=True)
    for count in (3, 4, 1, 3, 1):  # buckets 4, 4, 1, 4, 1
        bound.run(rows(count))
    assert [run.graph_id for run in noted.runs] == ["-1", "1", "-1", "1", "2"]
    assert noted.runs[0].outputs == noted.runs[1].outputs == noted.runs[3].outputs
    assert noted.runs[2].outputs == noted.runs[4].outputs


def test_inputs_are_written_where_they_were(noted: NotingSession) -> None:
    host = Host()
    bound = BoundSession(noted, host, capture=True)
    bound.run(rows(3))
    placed = len(host.placed)
    bound.run(rows(4))
    assert len(host.placed) == placed == len(rows(1))


def test_without_capture_nothing_is_captured(noted: NotingSession) -> None:
    bound = BoundSession(noted, Host(), capture=False)
    for _ in range(3):
        bound.run(rows(2))
    assert {run.graph_id for run in noted.runs} == {"-1"}


def test_more_shapes_than_are_kept_still_run(noted: NotingSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "MAX_GRAPHS", 1)
    bound = BoundSession(noted, Host(), capture=True)
    for count in (1, 2, 2, 1):
        assert bound.run(rows(count))["output"].shape[0] == count
    assert [run.graph_id for run in noted.runs] == ["-1", "-1", "-1", "1"]


def test_an_answer_is_not_overwritten_by_the_next_run(noted: NotingSession) -> None:
    bound = BoundSession(noted, Host(), capture=True)
    bound.run(rows(2))
    first = bound.run(rows(2))["output"]
    kept = first.copy()
    bound.run({name: value * 2 for name, value in rows(2).items()})
    assert np.array_equal(first, kept)


def test_what_is_written_into_a_bank_takes_effect_without_a_new_graph(with_lora: Bundle) -> None:
    path = with_lora.path("denoiser_lora.onnx")
    noted = NotingSession(ort.InferenceSession(path, providers=["CPUExecutionProvider"]))
    host, plain = Host(), CpuBackend(1).load(path)
    bound = BoundSession(noted, host, capture=True)
    banks = bank(host, seed=1)
    batch = {**rows(2), **uses(2)}
    before = bound.run(batch | banks)["output"]
    banks["lora_4x4_up"].write(1, np.full((LAYERS, FEATURES, RANK), 3.0, np.float32))
    after = bound.run(batch | banks)["output"]
    assert [run.graph_id for run in noted.runs] == ["-1", "1"]
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, plain.run(batch | values(banks))["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [RANK, 2 * RANK])
def test_a_bank_that_was_replaced_is_forgotten_with_its_graphs(with_lora: Bundle, rank: int) -> None:
    path = with_lora.path("denoiser_lora.onnx")
    noted = NotingSession(ort.InferenceSession(path, providers=["CPUExecutionProvider"]))
    host = Host()
    bound = BoundSession(noted, host, capture=True)
    batch = {**rows(1), **uses(1)}
    for banks in (bank(host, seed=1), bank(host, seed=2, rank=rank)):
        for _ in range(2):
            answer = bound.run(batch | banks)["output"]
        plain = CpuBackend(1).load(path).run(batch | values(banks))["output"]
        np.testing.assert_allclose(answer, plain, rtol=1e-5, atol=1e-5)
    assert [run.graph_id for run in noted.runs] == ["-1", "1", "-1", "2"]


@pytest.mark.parametrize(("index", "shape"), [(3, (2, 2)), (-1, (2, 2)), (0, (2, 3))])
def test_nothing_is_written_beside_a_bank(index: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be replaced"):
        DeviceArray(np.zeros((3, 2, 2), np.float32), Host()).write(index, np.zeros(shape, np.float32))


def test_a_device_that_ran_out_of_memory_can_run_a_smaller_batch(noted: NotingSession) -> None:
    bound = BoundSession(noted, Host(), capture=True)
    noted.fails = "Failed to allocate memory for requested buffer of size 5"
    with pytest.raises(OutOfMemory):
        bound.run(rows(ROW_BUCKETS[-1]))
    assert bound.run(rows(1))["output"].shape[0] == 1
    assert bound.run(rows(ROW_BUCKETS[-1]))["output"].shape[0] == ROW_BUCKETS[-1]
