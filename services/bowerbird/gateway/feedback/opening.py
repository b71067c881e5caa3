"""The feedback of a gateway process, over its records."""

from __future__ import annotations

from bowerbird.gateway.feedback.feedback import Feedback
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.records.secret import shared_secret


async def open_feedback(records: Records) -> Feedback:
    """Feedback on what these records know of."""
    secret = await shared_secret(records.database, "feedback_cursor")
    return Feedback(records.database, records.writer, records.usage, secret)
