"""Where requests go: least loaded first, around the full ones, and what becomes of the dead."""

from __future__ import annotations

from collections import Counter

import pytest

from bowerbird.gateway.admission.endpoints import Endpoint, Endpoints, Pauses

A, B = "http://a", "http://b"


@pytest.fixture
def endpoints() -> Endpoints:
    both = Endpoints(Pauses(first_seconds=1.0, longest_seconds=8.0))
    both.seen_ready(A, 4, None, 0.0)
    both.seen_ready(B, 2, None, 0.0)
    return both


def take(endpoints: Endpoints, now: float = 0.0) -> str | None:
    endpoint = endpoints.least_loaded(now)
    if endpoint is None:
        return None
    endpoints.take(endpoint)
    return endpoint.url


def die(endpoints: Endpoints, url: str, now: float) -> None:
    """One request that meets a dead endpoint."""
    endpoint: Endpoint = endpoints._endpoints[url]
    endpoints.take(endpoint)
    endpoints.lost(url, now)


def test_the_least_loaded_part_of_its_slots_is_next_until_all_are_taken(endpoints: Endpoints) -> None:
    taken = [take(endpoints) for _ in range(7)]

    assert Counter(taken[:3]) == {A: 2, B: 1}
    assert Counter(taken) == {A: 4, B: 2, None: 1}


def test_of_equals_the_one_that_was_given_nothing_for_longest_is_next() -> None:
    equal = Endpoints()
    for each in (A, B):
        equal.seen_ready(each, 1, None, 0.0)
    order = []
    for _ in range(6):
        url = take(equal) or ""
        equal.give_back(url, finished=True)
        order.append(url)

    assert order == [A, B] * 3


def test_full_endpoint_is_left_alone_until_something_of_ours_ends_there(endpoints: Endpoints) -> None:
    assert [take(endpoints) for _ in range(3)] == [A, B, A]
    endpoints.full(A, 0.0, 60.0)

    assert take(endpoints, 1.0) == B
    assert take(endpoints, 1.0) is None
    endpoints.give_back(A, finished=True)
    assert take(endpoints, 1.0) == A


def test_endpoint_that_went_away_gets_nothing_and_returns_with_the_next_look(endpoints: Endpoints) -> None:
    endpoints.seen_away(B)
    assert [take(endpoints) for _ in range(5)] == [A, A, A, A, None]

    endpoints.seen_ready(B, 3, None, 1.0)
    assert [take(endpoints, 1.0) for _ in range(4)] == [B, B, B, None]


def test_lost_endpoint_is_ejected_for_pauses_that_double(endpoints: Endpoints) -> None:
    endpoints.seen_away(B)
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 8.0):
        die(endpoints, A, now)
        endpoints.seen_ready(A, 4, None, now + pause - 0.01)
        assert endpoints.least_loaded(now + pause - 0.01) is None
        assert endpoints.least_loaded(now + pause + 0.01) is None, "a look must find it ready first"
        now += pause
        endpoints.seen_ready(A, 4, None, now)
        assert endpoints.least_loaded(now)


def test_several_requests_that_die_with_an_endpoint_are_one_loss(endpoints: Endpoints) -> None:
    endpoints.seen_away(B)
    assert [take(endpoints) for _ in range(4)] == [A] * 4
    for _ in range(4):
        endpoints.lost(A, 10.0)
    endpoints.seen_ready(A, 4, None, 11.0)

    assert endpoints.least_loaded(11.0)


def test_endpoint_that_was_lost_gets_one_request_at_a_time_until_one_is_finished(endpoints: Endpoints) -> None:
    endpoints.seen_away(B)
    die(endpoints, A, 0.0)
    endpoints.seen_ready(A, 4, None, 1.0)
    assert [take(endpoints, 1.0) for _ in range(2)] == [A, None]

    endpoints.give_back(A, finished=True)
    assert [take(endpoints, 2.0) for _ in range(5)] == [A, A, A, A, None]


def test_slots_are_those_of_the_endpoints_that_are_ready(endpoints: Endpoints) -> None:
    assert endpoints.slots == 6
    endpoints.seen_away(A)
    assert endpoints.slots == 2
