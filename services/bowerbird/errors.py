"""Every error Bowerbird raises, as a tree of facts; each class carries its status and OpenAI `type` and `code`.

    BowerbirdError
    ├── RequestInvalid                 400  the body, a field or a header is not what we accept
    │   ├── FieldUnknown               400  a field that nobody reads, or that has no effect here
    │   ├── PromptTooLong              400  more tokens than the model's text encoder reads
    │   ├── SizeUnsupported            400  a size that the model was not compiled for
    │   ├── LoraUnknown                400  no LoRA of this name in the model's folder
    │   ├── LoraInvalid                400  a LoRA that does not fit this model, is altered, or is no LoRA
    │   └── ModelUnknown               404  no such model (OpenAI answers 404)
    ├── KeyInvalid                     401  no key, or one that opens nothing here
    │   ├── KeyExpired                 401  a key of ours whose time is over
    │   └── KeyRevoked                 401  a key of ours that was revoked
    ├── ScopeMissing                   403  the key may not do this
    ├── TenantDisabled                 403  the key is right, its tenant is switched off
    ├── TierExceeded                   403  more than the tenant's tier ever allows: final
    ├── TenantUnknown                  404  no tenant of this id
    ├── KeyUnknown                     404  no key of this id
    ├── TenantExists                   409  the id is taken: final
    ├── KeyEnded                       409  a key that is over cannot be rotated: final
    ├── LimitReached                   429  the tenant's limit of a window is used up: try again
    ├── RequestUnknown                 404  no request or job of this id that brought pictures, or another tenant's
    ├── WebhookEndpointUnknown         404  no webhook endpoint of this id, or another tenant's
    ├── WebhookDeliveryUnknown         404  no delivery of this id to this endpoint
    ├── TooManyWebhookEndpoints        409  the tenant has as many as it may: final
    ├── WebhookUnreachable             502  the receiver of a test did not answer: final
    ├── RouteUnknown                   404  no such path
    ├── JobUnknown                     404  no job of this id, or another tenant's
    ├── MethodUnsupported              405  the path exists, the method does not
    ├── JobUnfinished                  409  the job has no result yet: try again
    ├── JobFinished                    409  a finished job cannot be cancelled: final
    ├── JobCancelled                   409  a cancelled job has no result: final
    ├── JobExpired                     410  the job was not finished in time, and will not be
    ├── IdempotencyKeyReused           422  the key came with another body before
    ├── BodyTooLarge                   413  more bytes than stated
    ├── BodyTooSlow                    408  the body did not come in time
    ├── PromptRefused                  400  safety said no to the prompt: final, never retried
    │   └── CrisisSupport              400  a person may be in danger: help text, no job, nothing kept
    ├── ImageRefused                   400  safety said no to every candidate
    ├── FeatureUnavailable             501  known, not built into this deployment
    ├── StageUnavailable               503  a stage is down or starting: try again
    │   ├── RecordsUnavailable         503  the database or the picture store cannot be asked: try again
    │   ├── GatewayStopping            503  this gateway is about to stop: another, or its successor, will answer
    │   ├── StageFull                  429  all slots of a stage are taken: try again
    │   ├── GrantStale                 409  the slot was granted by a former owner of the queue: ask the present one
    │   ├── QueueFull                  429  no more may wait than do: try again
    │   │   └── TenantQueueFull        429  no more of this tenant may wait than do: try again
    │   ├── QueueTimeout               429  no slot was free within the time that it was waited for
    │   └── DeadlineExceeded           503  the time the caller allowed ran out
    ├── StageBroken                    502  a stage answered, but not as its contract says
    ├── DrawingFailed                  500  the model failed on this picture: NaN, or the backend's error
    ├── ComputingTooLong               500  a job was not computed in time although every stage was well
    ├── JobQuarantined                 500  the job failed by its own fault too often and is not tried again
    ├── PictureLost                    500  a stored picture is gone, or not the one that was stored
    ├── LabelFailed                    500  provenance could not be written, so the picture does not leave
    ├── CertificateInvalid             500  a certificate or key that nothing can be signed with
    ├── PolicyInvalid                  500  a safety policy, or a file it pins, that is not understood
    ├── BackendMissing                 500  a runtime or device that was asked for is not here; no other is taken
    └── BundleInvalid                  500  a model bundle that is altered, truncated or foreign
        └── BundleTooLarge             500  a bundle that does not fit the memory it was given

The gateway and the services answer with `error_body(...)`; `error_from_body` turns a stage's answer back into the same
class, so that an error crosses a process border as a fact and not as a status code. `retry_after_seconds` becomes the
`Retry-After` header. Messages name the field, the value and what would be accepted, and never contain a prompt.
"""

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


class KeyInvalid(BowerbirdError):
    """The bearer key is missing, or opens nothing here."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class KeyExpired(KeyInvalid):
    """The key was one of ours; its time is over."""

    code = "expired_api_key"


class KeyRevoked(KeyInvalid):
    """The key was one of ours, and was revoked."""

    code = "revoked_api_key"


class ScopeMissing(BowerbirdError):
    """The key is right, but may not do this; the error names the scope that it lacks."""

    status = 403
    type = "permission_error"
    code = "missing_scope"


class TenantDisabled(BowerbirdError):
    """The key is right, but its tenant is switched off, or its tier is not configured here."""

    status = 403
    type = "permission_error"
    code = "tenant_disabled"


class TierExceeded(BowerbirdError):
    """More than the tenant's tier allows at any time: a larger picture, or more compute units than a whole window."""

    status = 403
    type = "permission_error"
    code = "tier_exceeded"


class TenantUnknown(BowerbirdError):
    """There is no tenant of this id."""

    status = 404
    type = "invalid_request_error"
    code = "tenant_not_found"


class KeyUnknown(BowerbirdError):
    """There is no key of this id."""

    status = 404
    type = "invalid_request_error"
    code = "api_key_not_found"


class TenantExists(BowerbirdError):
    """The id of a new tenant is taken, perhaps by one that is disabled; ids are never used twice."""

    status = 409
    type = "invalid_request_error"
    code = "tenant_exists"
    final = True


class KeyEnded(BowerbirdError):
    """The key is revoked, expired or rotated already: it cannot be rotated."""

    status = 409
    type = "invalid_request_error"
    code = "api_key_ended"
    final = True


class LimitReached(BowerbirdError):
    """A limit of the tenant is used up: of a window, or of requests at a time; the error names it."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class RouteUnknown(BowerbirdError):
    """There is nothing at this path."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class JobUnknown(BowerbirdError):
    """There is no job of this id; a job of another tenant looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "job_not_found"


class JobUnfinished(BowerbirdError):
    """The job is queued or running: its result may be there later."""

    status = 409
    type = "invalid_request_error"
    code = "job_not_finished"


class JobFinished(BowerbirdError):
    """The job has ended, in the state that the error names: nothing is left to cancel."""

    status = 409
    type = "invalid_request_error"
    code = "job_finished"
    final = True


class JobCancelled(BowerbirdError):
    """The job was cancelled: it has no result, and will have none."""

    status = 409
    type = "invalid_request_error"
    code = "job_cancelled"
    final = True


class JobExpired(BowerbirdError):
    """The job was not finished within the time that jobs are kept for: it will not be."""

    status = 410
    type = "invalid_request_error"
    code = "job_expired"


class ComputingTooLong(BowerbirdError):
    """A job took longer to compute than it may, although every stage was well: tried again, it gets twice the time."""

    code = "computing_too_long"


class JobQuarantined(BowerbirdError):
    """The job failed by its own fault so often that it is not tried again; the last failure is named."""

    code = "job_quarantined"
    final = True


class RequestUnknown(BowerbirdError):
    """No request or job of this id brought pictures in the last days; another tenant's looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "request_not_found"


class WebhookEndpointUnknown(BowerbirdError):
    """There is no webhook endpoint of this id; one of another tenant looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "webhook_endpoint_not_found"


class WebhookDeliveryUnknown(BowerbirdError):
    """Nothing of this id was to be told to this endpoint, or it is forgotten."""

    status = 404
    type = "invalid_request_error"
    code = "webhook_delivery_not_found"


class TooManyWebhookEndpoints(BowerbirdError):
    """The tenant has as many webhook endpoints as it may."""

    status = 409
    type = "invalid_request_error"
    code = "too_many_webhook_endpoints"
    final = True


class WebhookUnreachable(BowerbirdError):
    """The receiver of a test did not answer; the error says how it failed, as the log of deliveries does."""

    status = 502
    code = "webhook_unreachable"
    final = True


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


class BodyTooSlow(BowerbirdError):
    """The body comes too slowly, or not at all: nobody waits for it any longer."""

    status = 408
    type = "invalid_request_error"
    code = "body_too_slow"


class PromptRefused(BowerbirdError):
    """Safety refused the prompt. Final: the same prompt will be refused again."""

    status = 400
    type = "image_generation_user_error"
    code = "moderation_blocked"


class CrisisSupport(PromptRefused):
    """The prompt reads like a person in danger: the answer is help, nothing is drawn, nothing is kept."""

    code = "crisis_support"


class ImageRefused(BowerbirdError):
    """Safety let no candidate pass."""

    status = 400
    type = "image_generation_user_error"
    code = "image_blocked"


class FeatureUnavailable(BowerbirdError):
    """Known to the API, not built into this deployment."""

    status = 501
    code = "not_implemented"
    final = True


class StageUnavailable(BowerbirdError):
    """A stage is down or still starting; asking again later may succeed."""

    status = 503
    type = "service_unavailable_error"
    code = "stage_unavailable"


class RecordsUnavailable(StageUnavailable):
    """The database or the picture store cannot be asked now, or is full; asking again later may succeed."""

    code = "records_unavailable"


class GatewayStopping(StageUnavailable):
    """The gateway is told to stop: it finishes what is computed and lets nobody wait any more."""

    code = "gateway_stopping"


class GrantStale(StageUnavailable):
    """A slot by the word of one who does not own the queue any more: a later owner's grants have been seen here."""

    status = 409
    code = "grant_stale"


class StageFull(StageUnavailable):
    """All slots of a stage are taken; a slot is free again when computing has stopped."""

    status = 429
    type = "rate_limit_error"
    code = "stage_full"


class QueueFull(StageUnavailable):
    """As many requests wait as may; `Retry-After` says when there is room again as fast as the queue moves now."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class TenantQueueFull(QueueFull):
    """As many of the tenant's requests wait as may; those of others are not in the way."""

    code = "tenant_queue_full"


class QueueTimeout(StageUnavailable):
    """No slot was free within the time that the request was kept waiting for."""

    status = 429
    type = "rate_limit_error"
    code = "queue_timeout"


class DeadlineExceeded(StageUnavailable):
    """The time the caller allowed ran out before the picture was finished."""

    code = "deadline_exceeded"


class StageBroken(BowerbirdError):
    """A stage answered in a way its contract does not allow (a stream without an end, a wrong digest)."""

    status = 502
    code = "stage_broken"


class DrawingFailed(BowerbirdError):
    """The model failed on this picture, and only on this one: numbers ran away, or the runtime gave up twice."""

    code = "drawing_failed"


class PictureLost(BowerbirdError):
    """A picture that a finished job names is not in the store, or not the one that was stored."""

    code = "picture_lost"
    final = True


class LabelFailed(BowerbirdError):
    """The origin of a picture could not be written into it; what is not labelled does not leave."""

    code = "label_failed"


class CertificateInvalid(BowerbirdError):
    """A certificate, key or trust anchor that is missing, unreadable, expired, or does not belong together."""

    code = "certificate_invalid"


class PolicyInvalid(BowerbirdError):
    """A safety policy, or a file that it pins, is not understood or not the pinned one: nothing is decided by guess."""

    code = "policy_invalid"


class BundleInvalid(BowerbirdError):
    """A model bundle is altered, truncated, of an unknown format, or not a bundle at all."""

    code = "bundle_invalid"


class BundleTooLarge(BundleInvalid):
    """The bundle does not fit the memory that it was given; the message names it, its size and the budget."""

    code = "bundle_too_large"


class BackendMissing(BowerbirdError):
    """The runtime, provider or device that was asked for is not here; no other is silently taken instead."""

    code = "backend_missing"


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
