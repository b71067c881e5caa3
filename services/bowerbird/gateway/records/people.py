"""A tenant's end users, by a name that finds their rows and says nothing about them.

A caller names its end user (`safety_identifier`); rows that are about somebody keep that in a column `person`: an HMAC
with a secret of the deployment over tenant and identifier. It is the same in every room and every replica, so that all
of somebody is found by an index (`gateway/rights`); the same identifier of two tenants is two people; and where the
name outlives the rows, in the audit log, nobody reads an identifier from it.
"""

from __future__ import annotations

import hmac

SECRET_NAME = "people"  # noqa: S105 - what the secret is called, not what it is
NAME_CHARACTERS = 64


class People:
    """Names people."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def name(self, flow: str, identifier: str | None) -> str | None:
        """64 hexadecimal digits; None where nobody is named. `flow` is the tenant's (`call.flow_of`)."""
        if not identifier:
            return None
        return hmac.digest(self._secret, f"{flow}\0{identifier}".encode(), "sha256").hex()
