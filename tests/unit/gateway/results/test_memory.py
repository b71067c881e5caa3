"""What one process remembers of the results that it gave."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.results.memory import Memory
from bowerbird.gateway.results.result import Result

from .drawings import result

BOUND = 100_000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_not_confirmed_for_long_is_asked_for_again() -> None:
    clock = Clock()
    memory = Memory(BOUND, 30.0, clock)
    memory.put("k1", result(b"robin"), "row")
    clock.now = 29.9
    assert memory.get("k1") is not None
    clock.now = 30.0
    assert memory.get("k1") is None
    assert memory.bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20_000), st.booleans()), max_size=30))
def test_memory_keeps_its_bound_and_forgets_the_least_recently_used(steps: list[tuple[str, int, bool]]) -> None:
    memory, expected = Memory(BOUND, 30.0, Clock()), dict[str, Result]()
    for name, size, puts in steps:
        held = expected.pop(name, None)
        if puts:
            held = result(name.encode() * size)
            memory.put(name, held)
        else:
            remembered = memory.get(name)
            assert (remembered and remembered.result) is held
        if held is not None:
            expected[name] = held
        while sum(each.held_bytes for each in expected.values()) > BOUND:
            del expected[next(iter(expected))]
        assert memory.bytes == sum(each.held_bytes for each in expected.values())


def test_small_pictures_do_not_fill_the_memory_with_what_is_around_them() -> None:
    """Their facts take a hundred times what they do."""
    memory = Memory(BOUND, 30.0, Clock())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            memory.put(str(number), result(b"p", request_id=f"req_{number}"))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 2 * BOUND
