"""A former owner's grants are refused; nobody else notices."""

from __future__ import annotations

import pytest

from bowerbird.contracts import GRANT_HEADER
from bowerbird.engine.serving.fence import MAX_QUEUES, Fence
from bowerbird.errors import GrantStale, RequestInvalid


def stated(grant: str) -> dict[str, str]:
    return {GRANT_HEADER: grant}


def test_a_grant_of_an_earlier_epoch_is_refused_once_a_later_one_was_seen() -> None:
    fence = Fence()
    for grant in ("ab:3", "ab:3", "ab:7"):
        fence.pass_through(stated(grant))
    with pytest.raises(GrantStale):
        fence.pass_through(stated("ab:6"))
    fence.pass_through(stated("ab:7"))


def test_epochs_of_another_queue_are_others() -> None:
    """A database that is made anew counts from 1, and its gateways must be able to draw."""
    fence = Fence()
    fence.pass_through(stated("ab:57"))
    fence.pass_through(stated("cd:1"))


def test_who_is_alone_states_no_grant() -> None:
    fence = Fence()
    fence.pass_through(stated("ab:5"))
    fence.pass_through({})


NO_GRANTS = ("", "ab", "ab:", ":1", "ab:-1", "ab:1.5", "ab:1:2", "AB:1", "ab:" + "9" * 19, "x" * 999)


@pytest.mark.parametrize("grant", NO_GRANTS)
def test_what_is_no_grant_is_refused_by_name(grant: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        Fence().pass_through(stated(grant))
    assert refused.value.param == "Bowerbird-Grant"


def test_a_fence_remembers_no_more_queues_than_it_may() -> None:
    fence = Fence()
    fence.pass_through(stated("a:2"))
    for number in range(MAX_QUEUES):
        fence.pass_through(stated("a:2"))
        fence.pass_through(stated(f"b{number:x}:1"))
    with pytest.raises(GrantStale):
        fence.pass_through(stated("a:1"))
    assert len(fence._epochs) == MAX_QUEUES
