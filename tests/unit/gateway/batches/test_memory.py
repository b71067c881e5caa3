"""Memory does not grow with a batch: thousands of lines of many megabytes pass through a small part of that.

The whole size (50 000 lines of 200 MB) is measured by `benchmarks/batches.py`.
"""

from __future__ import annotations

import tracemalloc

import pytest

from bowerbird.gateway.batches import running, segments
from bowerbird.gateway.batches.batch import BatchState, NewBatch
from bowerbird.gateway.files.file import PART_BYTES, Purpose
from bowerbird.gateway.files.files import NewFile

from .conftest import ENDPOINT, Replica

LINES = 5_000
PART_LINES = 500
FILLER = "a robin in the snow " * 200  # 4 KB a line, as 200 MB over 50 000 lines are


async def test_a_batch_of_many_megabytes_takes_a_few_of_memory(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LINES_IN_HAND", 16)
    monkeypatch.setattr(segments, "GATHER_SECONDS", 2.0)
    file_id = await replica.files.begin(NewFile("birds", Purpose.BATCH, "lines.jsonl"))
    size = 0
    for first in range(0, LINES, PART_LINES):
        named = (f'{{"custom_id": "{first + number}", "prompt": "{FILLER}"}}\n' for number in range(PART_LINES))
        piece = "".join(named).encode()
        size += len(piece)
        await replica.files.append("birds", file_id, piece, PART_LINES)
    await replica.files.finish(file_id, 3600, "lines.jsonl")
    batch_id = (await replica.batches.create(NewBatch("batch_1", "birds", ENDPOINT, file_id, None, None, "en"))).id

    tracemalloc.start()
    try:
        assert await replica.run(await replica.claim()).run() is BatchState.COMPLETED
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    batch = await replica.get(batch_id)
    assert (batch.total, batch.completed) == (LINES, LINES)
    assert size > 4 * PART_BYTES
    assert peak < 2 * PART_BYTES + 4 * 1024**2, peak
