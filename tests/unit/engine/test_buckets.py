"""Batches become buckets and come back as they were."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.engine.backend import Input
from bowerbird.engine.backends.buckets import ROW_BUCKETS, bucket_of, by_row, joined, padded, rows_of, split


@given(rows=st.integers(1, 40), size=st.integers(1, 16))
def test_a_split_batch_joins_to_itself(rows: int, size: int) -> None:
    sample, bank = np.arange(rows * 2).reshape(rows, 2), np.zeros((3, 2))
    batch: dict[str, Input] = {"sample": sample, "lora_4x4_up": bank}
    parts = list(split(batch, size))
    assert all(part["lora_4x4_up"] is bank for part in parts)
    assert all(rows_of(part) <= size for part in parts)
    assert np.array_equal(joined([by_row(part) for part in parts])["sample"], sample)


@given(rows=st.integers(1, ROW_BUCKETS[-1]))
def test_a_bucket_holds_its_rows_and_is_less_than_twice_as_large(rows: int) -> None:
    bucket = bucket_of(rows)
    assert rows <= bucket < 2 * rows
    array = np.arange(rows)
    assert len(padded(array, bucket)) == bucket
    assert np.array_equal(padded(array, bucket)[:rows], array)
    assert set(padded(array, bucket)[rows:]) <= {rows - 1}
