"""Cursors of lists: where the next page begins, signed, so that only what we gave out comes back.

A cursor belongs to one tenant. It is no secret, but whoever could write one could make the database search from
anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json

from bowerbird.errors import RequestInvalid

_MAC_BYTES = 16


def write_cursor(secret: bytes, tenant: str, created_ms: int, job_id: str) -> str:
    """The cursor of the page after this row; URL-safe text."""
    place = json.dumps([created_ms, job_id], separators=(",", ":")).encode()
    return _text(_mac(secret, tenant, place) + place)


def read_cursor(secret: bytes, tenant: str, cursor: str) -> tuple[int, str]:
    """Where the page begins; raises RequestInvalid when we did not give this cursor to this tenant."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    mac, place = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # Base64 has several spellings of the same bytes; only ours is a cursor.
    if not hmac.compare_digest(mac, _mac(secret, tenant, place)) or _text(raw) != cursor:
        raise RequestInvalid(
            "after: not a cursor that was given here. Accepted: `next_cursor` of a page.", param="after"
        )
    created_ms, job_id = json.loads(place)
    return created_ms, job_id


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _mac(secret: bytes, tenant: str, place: bytes) -> bytes:
    return hmac.digest(secret, len(tenant).to_bytes(4, "big") + tenant.encode() + place, "sha256")[:_MAC_BYTES]
