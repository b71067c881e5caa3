"""What would be ignored is refused by its name at every route: query parameters that nobody reads, keys without use."""

from __future__ import annotations

import re

import httpx2
import pytest

from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.gateway.api.operation import Operation
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.query import check_query

GUARDED = [each for each in OPERATIONS if each.scope is not None]


@pytest.mark.parametrize("operation", GUARDED, ids=lambda each: f"{each.method} {each.path}")
def test_a_parameter_that_nobody_reads_is_refused_by_its_name(gateway: httpx2.Client, operation: Operation) -> None:
    path = re.sub(r"{\w+(:path)?}", "nothing-there", operation.path)
    error = gateway.request(operation.method, path, params={"nobody_reads_this": "1"}).json()["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "nobody_reads_this")
    for name in operation.query:
        assert name in error["message"]


@pytest.mark.parametrize(
    "operation", [each for each in GUARDED if not each.takes_key], ids=lambda each: f"{each.method} {each.path}"
)
def test_a_key_that_would_protect_nothing_is_refused(gateway: httpx2.Client, operation: Operation) -> None:
    path = re.sub(r"{\w+(:path)?}", "nothing-there", operation.path)
    answer = gateway.request(operation.method, path, headers={"Idempotency-Key": "mine"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("query", [b"", b"limit=2&after=x", b"after=&limit=", b"%6cimit=2"])
def test_what_is_known_may_stand_there_once(query: bytes) -> None:
    check_query(query, ("limit", "after"))


@pytest.mark.parametrize(
    ("query", "param", "kind"),
    [
        (b"limt=2", "limt", FieldUnknown),
        (b"limit=2&Limit=2", "Limit", FieldUnknown),
        (b"limit=1&after=x&limit=2", "limit", RequestInvalid),
        (b"\xff=1", "ÿ", FieldUnknown),
        (b"a" * 100 + b"=1", "a" * 64, FieldUnknown),
    ],
)
def test_anything_else_is_named(query: bytes, param: str, kind: type[RequestInvalid]) -> None:
    with pytest.raises(RequestInvalid) as refused:
        check_query(query, ("limit", "after"))
    assert (type(refused.value), refused.value.param) == (kind, param)
