"""Lines of files: the same whatever the pieces are, within bounds whatever the bytes are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.files.jsonl import LineReader, RawLine

PIECES = (b"\n", b"\r\n", b" ", b"\t", b"{}", b"\xff\x00", b'{"a": 1}', b"x" * 40)
BYTES = st.lists(st.sampled_from(PIECES)).map(b"".join)


def read(data: bytes, cuts: list[int], max_bytes: int = 30) -> list[RawLine]:
    reader, last = LineReader(max_bytes), 0
    lines: list[RawLine] = []
    for cut in [*sorted(each % (len(data) + 1) for each in cuts), len(data)]:
        lines += reader.feed(data[last:cut])
        assert sum(map(len, reader._pieces)) <= max_bytes
        last = cut
    return [*lines, *reader.end()]


@given(data=BYTES | st.binary(max_size=300), cuts=st.lists(st.integers(0, 10**6), max_size=8))
def test_lines_are_those_that_a_file_has_wherever_it_is_cut(data: bytes, cuts: list[int]) -> None:
    expected = []
    start = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            expected.append(RawLine(number, start, len(line), line if len(line) <= 30 else None))
        start += len(line) + 1
    assert read(data, cuts) == expected


@given(data=BYTES)
def test_how_many_lines_there_are_does_not_depend_on_how_long_they_may_be(data: bytes) -> None:
    assert len(read(data, [], 0)) == len(read(data, [], 10**6))
