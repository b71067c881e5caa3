"""Tables are applied as the format says, and refused when they are not tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bowerbird.engine.model.sampler import PER_CALL, SamplerRecord, SamplerTable, StartRecord, read_sampler_tables
from bowerbird.errors import BundleInvalid

from .tiny_bundle import table

GIVEN = ("timesteps", "input_scale")


def start_of(latents: int) -> StartRecord:
    return StartRecord(initial=[1.0] * latents, state=[], output=[], noise=[])


@settings(deadline=None)
@given(latents=st.integers(1, 4), calls=st.integers(1, 6), seed=st.integers(0, 1000))
def test_each_call_is_state_times_matrix_plus_output_plus_noise(latents: int, calls: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    record = SamplerRecord(
        initial=random.standard_normal(latents).tolist(),
        timesteps=random.uniform(0, 1000, calls).tolist(),
        input_scale=random.uniform(0.1, 1, calls).tolist(),
        state=random.standard_normal((calls, latents, latents)).tolist(),
        output=random.standard_normal((calls, latents)).tolist(),
        noise=random.standard_normal((calls, latents)).tolist(),
        **{name: random.standard_normal(calls).tolist() for name in PER_CALL if name not in GIVEN},
        starts=[start_of(latents)] * (0 if latents == 1 else calls),
    )
    applied = SamplerTable.of(record)
    start, outputs, fresh = (random.standard_normal((*n, 2, 3, 3)) for n in ((), (calls,), (calls,)))
    state = applied.start(start.astype(np.float32))
    expected = np.array(record.initial)[:, None, None, None] * start
    for call in range(applied.calls):
        np.testing.assert_allclose(
            applied.denoiser_input(call, state), record.input_scale[call] * expected[0], rtol=1e-3, atol=1e-3
        )
        state = applied.advance(call, state, outputs[call].astype(np.float32), fresh[call].astype(np.float32))
        expected = np.stack(
            [
                sum(record.state[call][k][j] * expected[j] for j in range(latents))
                + record.output[call][k] * outputs[call]
                + record.noise[call][k] * fresh[call]
                for k in range(latents)
            ]
        )
        np.testing.assert_allclose(state, expected, rtol=1e-3, atol=1e-3)
        assert state.dtype == np.float32


def test_noise_is_asked_for_only_where_the_table_adds_some() -> None:
    applied = SamplerTable.of(table(3))
    assert [applied.adds_noise(call) for call in range(3)] == [True, True, False]


@pytest.mark.parametrize("name", ["noise", "timesteps", "clean_output", "noised_noise"])
def test_a_table_with_a_missing_call_is_refused(name: str) -> None:
    fields = table(3).model_dump()
    with pytest.raises(ValidationError, match="one entry per call"):
        SamplerRecord.model_validate(fields | {name: fields[name][:-1]})


def test_the_clean_estimate_and_the_noised_sample_are_weighted_sums() -> None:
    applied = SamplerTable.of(table(4))
    latents, other = np.ones((2, 1, 1), np.float32), np.full((2, 1, 1), 3, np.float32)
    np.testing.assert_allclose(applied.clean(1, latents[None], other), np.full((2, 1, 1), 1 - 0.75 * 3))
    np.testing.assert_allclose(applied.noised(1, latents, other), np.full((2, 1, 1), 1 + 2 * 0.75 * 3))
    assert applied.initial_sigma == 2


def test_a_table_that_starts_later_makes_the_calls_that_are_left() -> None:
    applied = SamplerTable.of(table(4))
    tail = applied.starting_at(1)
    assert tail.calls == 3
    np.testing.assert_array_equal(tail.timesteps, applied.timesteps[1:])
    noised = np.full((2, 1, 1), 5, np.float32)
    np.testing.assert_array_equal(tail.start(noised), noised[None])


def test_a_multistep_table_that_starts_later_has_other_rows_first() -> None:
    """Two latents, two calls; from call 1 on the past is not there, so its row is the start's own."""
    usual = {"state": [[[0, 1], [1, 0]]] * 2, "output": [[1, 1]] * 2, "noise": [[0, 0]] * 2}
    alone = {"initial": [1, 7], "state": [[[0, 1], [0, 0]]], "output": [[2, 0]], "noise": [[0, 0]]}
    record = {"initial": [3, 0], **usual, "starts": [alone, alone], **{name: [1, 1] for name in PER_CALL}}
    applied = SamplerTable.of(SamplerRecord.model_validate(record))
    one = np.ones((1, 1, 1), np.float32)
    tail = applied.starting_at(1)
    state = tail.start(one)
    np.testing.assert_array_equal(state.ravel(), [1, 7])
    np.testing.assert_array_equal(tail.advance(0, state, one, None).ravel(), [9, 0])
    np.testing.assert_array_equal(applied.advance(1, state, one, None).ravel(), [8, 2])


@pytest.mark.parametrize("content", ["", "[]", '{"x": {}}', '{"1": {"initial": [1]}}', '{"1": 2}'])
def test_a_file_that_holds_no_tables_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "samplers.json"
    path.write_text(content)
    with pytest.raises(BundleInvalid, match="does not hold sampler tables"):
        read_sampler_tables(path)


def test_tables_are_read_by_step_count(tmp_path: Path) -> None:
    path = tmp_path / "samplers.json"
    path.write_text(json.dumps({2: table(2).model_dump(), 5: table(5).model_dump()}))
    assert {steps: each.calls for steps, each in read_sampler_tables(path).items()} == {2: 2, 5: 5}
