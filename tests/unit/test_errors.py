"""Errors cross a process border as facts."""

from __future__ import annotations

import inspect

import pytest

from bowerbird import errors
from bowerbird.errors import BowerbirdError, error_body, error_from_body

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BowerbirdError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_fact_on_the_other_side(kind: type[BowerbirdError]) -> None:
    sent = kind("what happened", param="size", details={"categories": {"violence": True}})
    received = error_from_body(kind.status, error_body(sent), retry_after_seconds=3)
    assert type(received) is kind
    assert (received.message, received.param, received.details) == (sent.message, sent.param, sent.details)
    assert received.retry_after_seconds == 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_inside_a_stream_is_known_by_its_code(kind: type[BowerbirdError]) -> None:
    assert type(error_from_body(None, error_body(kind("what happened")))) is kind


def test_no_two_errors_share_a_code() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("body", [None, [], "502 Bad Gateway", {"detail": "x"}, {"error": "x"}, {"error": {"code": 1}}])
def test_a_foreign_body_is_no_error_of_ours(body: object) -> None:
    assert error_from_body(502, body) is None


def test_details_cannot_replace_the_four_fields() -> None:
    body = error_body(BowerbirdError("truth", details={"message": "lie", "code": "lie", "type": "lie", "param": "lie"}))
    assert body == {"error": {"message": "truth", "type": "server_error", "param": None, "code": "internal_error"}}
