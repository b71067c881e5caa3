"""Why a stack cannot start or go on: facts for the person at the terminal; none of them reaches a caller of the API."""

from __future__ import annotations

from bowerbird.errors import BowerbirdError


class StackError(BowerbirdError):
    """`bowerbird up` has to stop; the message says why and what to do."""


class PortTaken(StackError):
    """The gateway's port is not free."""


class HomeLocked(StackError):
    """Another `bowerbird up` works in the same BOWERBIRD_HOME."""


class ServiceGaveUp(StackError):
    """A service died several times shortly after its start."""


class SelfCheckFailed(StackError):
    """Every stage is ready, and still no picture came."""
