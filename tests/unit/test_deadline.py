"""One deadline through every hop."""

from __future__ import annotations

import pytest

from bowerbird.contracts import DEADLINE_HEADER
from bowerbird.deadline import MAX_DEADLINE_MS, Deadline
from bowerbird.errors import DeadlineExceeded, RequestInvalid


def test_the_next_hop_never_gets_more_than_is_left() -> None:
    deadline = Deadline.from_headers({DEADLINE_HEADER: "5000"}, default_seconds=1)
    assert 0 < int(deadline.headers()[DEADLINE_HEADER]) <= 5000


def test_without_a_header_the_default_counts() -> None:
    assert 0 < Deadline.from_headers({}, default_seconds=2).remaining_seconds <= 2


def test_a_passed_deadline_asks_nobody_any_more() -> None:
    deadline = Deadline.after(0)
    assert deadline.expired
    assert deadline.remaining_seconds == 0
    with pytest.raises(DeadlineExceeded):
        deadline.headers()


@pytest.mark.parametrize("raw", ["", "0", "-5", "1.5", "soon", "٣", "1e3", str(MAX_DEADLINE_MS + 1), "9" * 400])
def test_an_absurd_deadline_is_refused_by_name(raw: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        Deadline.from_headers({DEADLINE_HEADER: raw}, default_seconds=1)
    assert refused.value.param == "Bowerbird-Deadline-Ms"
