"""Why a model cannot be served."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class BundleInvalid(BowerbirdError):
    """A model bundle is altered, truncated, of an unknown format, or not a bundle at all."""

    code = "bundle_invalid"


class BundleTooLarge(BundleInvalid):
    """The bundle does not fit the memory that it was given; the message names it, its size and the budget."""

    code = "bundle_too_large"


class BundleUnavailable(BowerbirdError):
    """An object store does not give a bundle: it is not there, may not be read, or nobody answers; the message says."""

    code = "bundle_unavailable"


class SpeciesListInvalid(BowerbirdError):
    """A list of species that the judge is to tell apart cannot be understood; the message names file and place."""

    code = "species_list_invalid"


class BackendMissing(BowerbirdError):
    """The runtime, provider or device that was asked for is not here; no other is silently taken instead."""

    code = "backend_missing"
