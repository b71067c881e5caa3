"""A process may be killed after any statement: no line is lost, none is recorded twice, nothing is left over."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import URL, select

from bowerbird.gateway.batches.batch import BatchState
from bowerbird.gateway.batches.tables import batch_lines
from bowerbird.gateway.files.tables import file_parts

from .conftest import Replica
from .rows import lines

HERE = Path(__file__).parent


async def test_a_batch_whose_processes_are_killed_after_any_statement_has_every_line_once(
    replica: Replica, url: URL
) -> None:
    data = lines(60) + b'{"custom_id": "x", "prompt": "crisis, in these words"}\n' + lines(2)
    batch_id = await replica.create(data[:700], data[700:])
    there = [url.render_as_string(False), str(replica.pictures._root), str(replica.clock.ms)]
    command = [sys.executable, str(HERE / "dying.py"), *there]
    done = await asyncio.to_thread(partial(subprocess.run, command, capture_output=True, text=True, check=False))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5

    batch = await replica.get(batch_id)
    answers, errors = await replica.outcomes(batch)
    assert (batch.state, batch.total, batch.completed, batch.failed) == (BatchState.COMPLETED, 63, 60, 3)
    assert sorted(each["line"] for each in answers) == list(range(1, 61))
    assert sorted(each["line"] for each in errors) == [61, 62, 63]
    assert sorted(await replica.counted()) == sorted(f"{batch_id}-{line}" for line in range(1, 61))
    async with replica.database.reading() as connection:
        rows = (await connection.execute(select(batch_lines.c.line))).scalars().all()
        empty = (await connection.execute(select(file_parts).where(file_parts.c.bytes == 0))).all()
    assert (sorted(rows), empty) == (list(range(1, 64)), [])

    await replica.sweep.remove_orphans()
    objects = [key async for key in replica.pictures.keys("files/")]
    assert not any([b"in these words" in await replica.pictures.get(key) for key in objects])
    for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        await replica.files.delete("birds", file_id or "")
    assert [key async for key in replica.pictures.keys("files/")] == []
