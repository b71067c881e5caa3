"""Slots: no more in use than are held, and none is held that is not used."""

from __future__ import annotations

from bowerbird.gateway.limits.slots import LEASE_SECONDS, Slots


def held(slots: Slots, count: int, at: float = 0.0) -> Slots:
    slots.receive(count, at)
    return slots


def test_no_more_are_in_use_than_are_held() -> None:
    slots = held(Slots(4), 2)
    assert [slots.take(1.0) for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert slots.take(1.0)


def test_a_lease_that_ran_out_is_none() -> None:
    slots = held(Slots(4), 2)
    assert not slots.take(LEASE_SECONDS)


def test_more_is_asked_for_than_is_needed_now_but_never_more_than_all() -> None:
    slots = held(Slots(32), 32)
    assert slots.wanted() == 5
    for _ in range(31):
        slots.take(1.0)
    assert slots.wanted() == 32


def test_what_was_not_used_lately_is_given_back_at_once() -> None:
    slots = held(Slots(8), 6)
    for _ in range(3):
        slots.take(1.0)
    for _ in range(2):
        slots.give_back()
    assert slots.shrink() == 3
    assert slots.shrink() == 1
    assert not slots.take(1.0)


def test_alone_a_part_of_them_may_be_in_use_and_one_always() -> None:
    slots = Slots(8)
    assert [slots.take_alone(0.25) for _ in range(3)] == [True, True, False]
    assert [Slots(2).take_alone(0.25), Slots(1).take_alone(0.25)] == [True, True]
