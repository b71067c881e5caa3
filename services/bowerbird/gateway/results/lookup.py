"""What a request says about stored pictures, and what follows: which of them may answer it.

A seed asks for one certain picture, so that the stored one is the answer. Without a seed a request asks for a new one,
unless it says that any will do.
"""

from __future__ import annotations

from enum import StrEnum

from bowerbird.errors import FieldUnknown


class Cache(StrEnum):
    """The field `cache` of a request."""

    AUTO = "auto"
    ANY = "any"
    FRESH = "fresh"


class Lookup(StrEnum):
    """Which stored pictures may answer a request."""

    SEED = "seed"
    """The one that was drawn with its seed."""
    ANY = "any"
    """One that was drawn alike, whatever its seed."""
    NONE = "none"
    """None: it is drawn."""


def lookup_of(cache: Cache, seed: int | None, *, stores: bool, any_by_default: bool = False) -> Lookup:
    """What may answer; raises FieldUnknown where `any` has no effect: with a seed, or where nothing is stored.

    `any_by_default` is what `auto` means for a request without a seed; `fresh` then says otherwise.
    """
    if cache is Cache.FRESH:
        return Lookup.NONE
    if seed is not None:
        if cache is Cache.ANY:
            raise FieldUnknown(
                "cache: 'any' has no effect with a seed, which asks for one picture. Accepted: 'auto' or 'fresh', or "
                "no seed.",
                param="cache",
            )
        return Lookup.SEED
    if cache is Cache.ANY and not stores:
        raise FieldUnknown(
            "cache: 'any' has no effect here: no pictures are stored. Accepted: 'auto' or 'fresh'.", param="cache"
        )
    return Lookup.ANY if stores and (cache is Cache.ANY or any_by_default) else Lookup.NONE
