"""Batches of few sizes: a GPU's graphs and engines are made for one shape each.

A batch is padded with dead rows to the next bucket, and what is larger than the largest is computed in several runs.
Powers of two, because a dead row costs as much as a live one: at most half of a batch is dead, and five shapes a size
are few enough to prepare and to keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bowerbird.engine.backend import Array, Input, is_shared

ROW_BUCKETS = (1, 2, 4, 8, 16)


def bucket_of(rows: int, buckets: Sequence[int] = ROW_BUCKETS) -> int:
    """The smallest bucket that holds `rows`, which must not exceed the largest."""
    return next(bucket for bucket in buckets if bucket >= rows)


def by_row(inputs: Mapping[str, Input]) -> dict[str, Array]:
    """The inputs whose first dimension is the batch."""
    return {name: value for name, value in inputs.items() if isinstance(value, np.ndarray) and not is_shared(name)}


def rows_of(inputs: Mapping[str, Input]) -> int:
    """The size of the batch."""
    return len(next(iter(by_row(inputs).values())))


def split(inputs: Mapping[str, Input], size: int) -> Iterator[dict[str, Input]]:
    """The batch as batches of at most `size` rows; what is shared by all rows stays whole."""
    rowwise = by_row(inputs)
    for first in range(0, rows_of(inputs), size):
        yield {
            name: rowwise[name][first : first + size] if name in rowwise else value for name, value in inputs.items()
        }


def padded(array: Array, rows: int) -> Array:
    """`array` with copies of its last row up to `rows`: a dead row that is like a live one cannot overflow alone."""
    if len(array) == rows:
        return array
    return np.concatenate([array, np.broadcast_to(array[-1:], (rows - len(array), *array.shape[1:]))])


def joined(answers: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs of `split` batches, in their order, as those of one."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
