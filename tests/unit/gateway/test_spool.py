"""Frames between drawing and publishing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.spool import FrameSpool, frame_spool


@given(
    frames=st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=12),
    memory_bytes=st.integers(0, 256),
    data=st.data(),
)
async def test_frames_come_back_as_they_were_whatever_the_order_and_the_bound(
    frames: list[bytes], memory_bytes: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(frames))))
    async with frame_spool(memory_bytes) as spool:
        readers = [asyncio.create_task(spool.get(index)) for index in range(len(frames))]
        for index in order:
            await spool.put(index, frames[index])
        assert await asyncio.gather(*readers) == frames
        assert sum(map(len, frames)) - spool.file_bytes <= memory_bytes


async def test_dropped_frames_are_gone_and_their_memory_is_free_again() -> None:
    spool = FrameSpool(100)
    await spool.put(0, b"a" * 60)
    await spool.put(1, b"b" * 40)
    spool.keep_only([1])

    with pytest.raises(KeyError):
        await spool.get(0)
    await spool.put(2, b"c" * 60)
    assert spool.file_bytes == 0
    await spool.close()


async def test_reader_waits_for_its_frame() -> None:
    async with frame_spool(10) as spool:
        reader = asyncio.create_task(spool.get(1))
        await spool.put(0, b"other")
        assert not reader.done()
        await spool.put(1, b"mine")
        assert await reader == b"mine"
