"""What is wrong with a request as it came: its route, its size, its fields."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class RequestInvalid(BowerbirdError):
    """The request cannot be understood or asks for what is out of range."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class FieldUnknown(RequestInvalid):
    """A field nobody reads, or one that would have no effect: refused, because ignoring it would be a lie."""

    code = "unknown_parameter"


class PromptTooLong(RequestInvalid):
    """The prompt has more tokens than the text encoder reads; it is never cut silently."""

    code = "prompt_too_long"


class SizeUnsupported(RequestInvalid):
    """The model was not compiled for this size."""

    code = "unsupported_size"


class LoraUnknown(RequestInvalid):
    """The model's folder holds no LoRA of this name."""

    code = "lora_not_found"


class LoraInvalid(RequestInvalid):
    """The LoRA cannot be used with this model: altered, too large a rank, other shapes, modules we cannot map."""

    code = "lora_invalid"


class ModelUnknown(RequestInvalid):
    """No model of this name is served here."""

    status = 404
    code = "model_not_found"


class RouteUnknown(BowerbirdError):
    """There is nothing at this path."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class RequestUnknown(BowerbirdError):
    """No request or job of this id brought pictures in the last days; another tenant's looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "request_not_found"


class IdempotencyKeyReused(BowerbirdError):
    """The `Idempotency-Key` came with another request before: a key belongs to one request for 24 hours."""

    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"


class MethodUnsupported(BowerbirdError):
    """The path exists, but not with this method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_supported"


class BodyTooLarge(BowerbirdError):
    """The body is larger than the stated limit; it is not read to its end."""

    status = 413
    type = "invalid_request_error"
    code = "body_too_large"


class RangeUnsatisfiable(BowerbirdError):
    """The range of bytes that was asked for begins behind the end of the file."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"


class BodyTooSlow(BowerbirdError):
    """The body comes too slowly, or not at all: nobody waits for it any longer."""

    status = 408
    type = "invalid_request_error"
    code = "body_too_slow"


class FeatureUnavailable(BowerbirdError):
    """Known to the API, not built into this deployment."""

    status = 501
    code = "not_implemented"
    final = True
