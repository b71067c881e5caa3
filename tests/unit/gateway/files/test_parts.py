"""The bytes of files: in parts, erased in place, and never left behind by whoever died."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import insert

from bowerbird.errors import FileUnknown, PictureLost, RecordsUnavailable, StorageFull
from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.file import Purpose
from bowerbird.gateway.files.files import NewFile
from bowerbird.gateway.files.parts import Erasure, PartOvertaken
from bowerbird.gateway.records.idempotency import KeyedRequest

from .conftest import QUOTA_BYTES, Room

HOUR = 3600.0


def line(number: int, user: str) -> bytes:
    body = {"prompt": f"a robin {number}", "safety_identifier": user}
    return json.dumps({"custom_id": f"line-{number}", "body": body}).encode() + b"\n"


async def test_a_file_is_what_its_parts_are_one_after_another(room: Room) -> None:
    file_id = await room.keep(b"one\ntw", b"o\n", b"three\n")
    assert await room.content(file_id) == b"one\ntwo\nthree\n"
    file = await room.files.get("birds", file_id)
    assert (file.bytes, file.filename) == (14, "lines.jsonl")
    with pytest.raises(FileUnknown):
        await room.files.get("cats", file_id)


async def test_what_is_still_written_is_seen_by_nobody_and_goes_when_it_is_given_up(room: Room) -> None:
    file_id = await room.files.begin(NewFile("birds", Purpose.BATCH, "a"))
    await room.files.append("birds", file_id, b"abc", 0)
    with pytest.raises(FileUnknown):
        await room.files.get("birds", file_id)
    assert await room.files.page("birds", 10) == []
    await room.files.give_up(file_id)
    assert await room.keys() == set()
    with pytest.raises(FileUnknown):
        await room.files.finish(file_id, 60, "a")


async def test_an_upload_that_was_left_behind_is_removed_and_cannot_be_finished_any_more(room: Room) -> None:
    file_id = await room.files.begin(NewFile("birds", Purpose.BATCH, "a"))
    await room.files.append("birds", file_id, b"abc", 0)
    room.clock.advance(5 * HOUR)
    assert await room.sweep.sweep() == 0
    room.clock.advance(2 * HOUR)
    assert await room.sweep.sweep() == 1
    assert await room.keys() == set()
    with pytest.raises(FileUnknown):
        await room.files.append("birds", file_id, b"abc", 0)


async def test_a_file_is_removed_when_its_time_is_over_unless_a_batch_reads_it(room: Room) -> None:
    kept, read = await room.keep(b"a\n"), await room.keep(b"b\n")
    counts = dict.fromkeys(("total", "completed", "failed", "input_tokens", "output_tokens", "lease_epoch"), 0)
    row = {"id": "batch_1", "tenant": "birds", "state": "in_progress", "endpoint": "e", "locale": "en", **counts}
    times = {"created_ms": 0, "expires_ms": 0, "lease_until_ms": 0}
    async with room.database.writing() as connection:
        await connection.execute(insert(batches).values(**row, **times, input_file_id=read))
    room.clock.advance(HOUR + 1)
    assert await room.sweep.sweep() == 1
    with pytest.raises(FileUnknown):
        await room.files.get("birds", kept)
    assert await room.content(read) == b"b\n"


async def test_a_tenant_stores_no_more_than_it_may(room: Room) -> None:
    file_id = await room.keep(b"x" * (QUOTA_BYTES - 10))
    with pytest.raises(StorageFull, match=f"of {QUOTA_BYTES} bytes"):
        await room.keep(b"y" * 11)
    await room.keep(b"y" * 11, tenant="cats")
    await room.files.delete("birds", file_id)
    await room.keep(b"y" * 11)


async def test_a_range_is_erased_in_every_part_that_it_touches_and_the_old_objects_go(room: Room) -> None:
    file_id = await room.keep(b"keep\nsecr", b"et te", b"xt\nkeep\n")
    before = await room.keys()
    rewritten = await room.files.parts.rewrite(file_id, [Erasure(5, b"-" * 11)])
    assert await room.content(file_id) == b"keep\nsecret text\nkeep\n"
    async with room.database.writing() as connection:
        await room.files.parts.swap(connection, rewritten)
    await room.files.parts.forget(rewritten)
    assert await room.content(file_id) == b"keep\n-----------\nkeep\n"
    assert len(await room.keys()) == 3
    assert not before & await room.keys()


async def test_of_two_who_erase_in_one_part_the_one_that_was_overtaken_begins_again(room: Room) -> None:
    file_id = await room.keep(b"aaaabbbb\n")
    first = await room.files.parts.rewrite(file_id, [Erasure(0, b"----")])
    second = await room.files.parts.rewrite(file_id, [Erasure(4, b"====")])
    with pytest.raises(PartOvertaken):
        async with room.database.writing() as connection:
            await room.files.parts.swap(connection, first)
    async with room.database.writing() as connection:
        await room.files.parts.swap(connection, second)
    again = await room.files.parts.rewrite(file_id, [Erasure(0, b"----")])
    async with room.database.writing() as connection:
        await room.files.parts.swap(connection, again)
    assert await room.content(file_id) == b"----====\n"
    assert await room.sweep.remove_orphans() >= 1
    assert await room.content(file_id) == b"----====\n"


async def test_a_swap_that_happened_already_happens_no_second_time(room: Room) -> None:
    file_id = await room.keep(b"aaaa\n")
    rewritten = await room.files.parts.rewrite(file_id, [Erasure(0, b"----")])
    for _ in range(2):
        async with room.database.writing() as connection:
            await room.files.parts.swap(connection, rewritten)
    assert await room.content(file_id) == b"----\n"


async def test_who_reads_while_a_part_is_put_anew_reads_on(room: Room) -> None:
    file_id = await room.keep(b"one\n", b"two\n", b"six\n")
    reading = room.files.parts.read(file_id)
    assert await anext(reading) == b"one\n"
    assert await room.persons.erase("birds", lambda _: True) == 0
    rewritten = await room.files.parts.rewrite(file_id, [Erasure(4, b"---")])
    async with room.database.writing() as connection:
        await room.files.parts.swap(connection, rewritten)
    await room.files.parts.forget(rewritten)
    assert [piece async for piece in reading] == [b"---\n", b"six\n"]


async def test_only_what_no_row_names_is_an_orphan(room: Room) -> None:
    file_id = await room.keep(b"one\n")
    await room.files.parts.rewrite(file_id, [Erasure(0, b"---")])
    await room.pictures.put("files/file-gone/0-abc", b"abc")
    named = await room.keys() - {"files/file-gone/0-abc"}
    assert await room.sweep.remove_orphans() == 1
    assert await room.keys() == named
    await room.files.delete("birds", file_id)
    assert await room.keys() == set()


async def test_a_part_that_is_lost_is_said_to_be(room: Room) -> None:
    file_id = await room.keep(b"one\n")
    await room.pictures.delete(await room.keys())
    with pytest.raises(PictureLost):
        await room.content(file_id)


async def test_the_lines_about_a_person_are_found_and_erased_and_everything_else_stays(room: Room) -> None:
    lines = [line(1, "user-1"), line(2, "user-2"), b"no json\n", line(4, "user-1"), b"[" * 5000 + b"\n"]
    whole = b"".join(lines)
    mine = await room.keep(whole[:100], whole[100:200], whole[200:])
    answer = {"custom_id": "line-1", "response": {"body": {"safety_identifier": "user-1", "data": ["…"]}}}
    output = await room.keep(json.dumps(answer).encode() + b"\n")
    theirs = await room.keep(line(1, "user-1"), tenant="cats")

    found = [each async for each in room.persons.lines("birds", lambda name: name == "user-1")]
    assert sorted(found) == sorted([lines[0].rstrip(), lines[3].rstrip(), json.dumps(answer).encode()])
    assert await room.persons.erase("birds", lambda name: name == "user-1") == 3

    after = await room.content(mine)
    assert len(after) == len(whole)
    assert [each.split(b"\n")[0] for each in after.splitlines()][1:3] == [lines[1].rstrip(), b"no json"]
    assert json.loads(after.splitlines()[0]) == {"erased": "person"}
    assert b"user-1" not in after + await room.content(output)
    for key in await room.keys():
        if theirs not in key:
            assert b"user-1" not in await room.pictures.get(key)
    assert await room.content(theirs) == line(1, "user-1")
    assert await room.persons.erase("birds", lambda name: name == "user-1") == 0


async def test_everything_of_a_tenant_goes(room: Room) -> None:
    await room.keep(b"one\n")
    await room.files.append("birds", await room.files.begin(NewFile("birds", Purpose.BATCH, "a")), b"abc", 0)
    theirs = await room.keep(b"two\n", tenant="cats")
    assert await room.files.remove_tenant("birds") == 2
    assert {key.split("/")[1] for key in await room.keys()} == {theirs}


async def test_files_are_paged_in_the_order_in_which_they_came(room: Room) -> None:
    made = []
    for number in range(5):
        made.append(await room.keep(b"%d\n" % number))
        room.clock.advance(1)
    newest = await room.files.page("birds", 2)
    assert [each.id for each in newest] == [made[4], made[3]]
    assert [each.id for each in await room.files.page("birds", 9, made[3])] == [made[2], made[1], made[0]]
    assert [each.id for each in await room.files.page("birds", 2, made[1], oldest_first=True)] == made[2:4]
    assert await room.files.page("birds", 9, purpose="batch_output") == []
    with pytest.raises(FileUnknown):
        await room.files.page("cats", 9, made[0])


async def test_one_key_is_one_file_also_when_both_uploads_end_at_once(room: Room) -> None:
    async def upload() -> str:
        file_id = await room.files.begin(NewFile("birds", Purpose.BATCH, "a"))
        await room.files.append("birds", file_id, b"abc\n", 1)
        while True:
            try:
                return (await room.files.finish(file_id, 60, "a", KeyedRequest("birds", "key", b"d" * 32))).id
            except RecordsUnavailable:
                continue

    first, second = await asyncio.gather(upload(), upload())
    assert first == second
    assert len(await room.files.page("birds", 9)) == len(await room.keys()) == 1
