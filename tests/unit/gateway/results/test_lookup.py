"""What a request says of stored pictures, and which of them may answer it."""

from __future__ import annotations

import pytest

from bowerbird.errors import FieldUnknown
from bowerbird.gateway.results.lookup import Cache, Lookup, lookup_of


@pytest.mark.parametrize(
    ("cache", "seed", "any_by_default", "lookup"),
    [
        (Cache.AUTO, 7, False, Lookup.SEED),
        (Cache.AUTO, 0, True, Lookup.SEED),
        (Cache.AUTO, None, False, Lookup.NONE),
        (Cache.AUTO, None, True, Lookup.ANY),
        (Cache.ANY, None, False, Lookup.ANY),
        (Cache.FRESH, 7, False, Lookup.NONE),
        (Cache.FRESH, None, True, Lookup.NONE),
    ],
)
def test_which_stored_pictures_may_answer(cache: Cache, seed: int | None, any_by_default: bool, lookup: Lookup) -> None:
    assert lookup_of(cache, seed, stores=True, any_by_default=any_by_default) is lookup


@pytest.mark.parametrize(("seed", "stores"), [(7, True), (0, True), (None, False)])
def test_any_is_refused_where_it_has_no_effect(seed: int | None, stores: bool) -> None:
    with pytest.raises(FieldUnknown) as refused:
        lookup_of(Cache.ANY, seed, stores=stores)
    assert refused.value.param == "cache"


def test_a_default_of_the_tenant_is_no_error_where_nothing_is_stored() -> None:
    assert lookup_of(Cache.AUTO, None, stores=False, any_by_default=True) is Lookup.NONE
