"""What every error is, and how one becomes an answer's body and is read back from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class BowerbirdError(Exception):
    """What went wrong, in one sentence for the caller; `param` names the request field it is about."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    final: ClassVar[bool] = False
    """True where a client would ask again by the status alone, in vain: the answer says `x-should-retry: false`."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}


def error_body(error: BowerbirdError) -> dict[str, Any]:
    """The answer's JSON in OpenAI's shape; facts of `details` (categories, help text) stand beside the four fields."""
    return {
        "error": {
            **error.details,
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def error_from_body(status: int | None, body: Any, retry_after_seconds: int | None = None) -> BowerbirdError | None:
    """The error that a stage answered with, or None when the body is not one of ours (a foreign proxy's page, say).

    `status` is None for the last part of a stream, whose own status was sent long before: the code names the fact.
    """
    fields = body.get("error") if isinstance(body, dict) else None
    if not isinstance(fields, dict):
        return None
    for kind in _kinds(BowerbirdError):
        if kind.code == fields.get("code") and status in (None, kind.status):
            details = {k: v for k, v in fields.items() if k not in {"message", "type", "param", "code"}}
            return kind(
                str(fields.get("message")),
                param=fields.get("param"),
                retry_after_seconds=retry_after_seconds,
                details=details,
            )
    return None


def _kinds(root: type[BowerbirdError]) -> Iterator[type[BowerbirdError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)
