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
    ├── ErasureUnknown                 404  no erasure of this id, or another tenant's
    ├── ExportUnknown                  404  no export of this id, another tenant's, or its time is over
    ├── WebhookEndpointUnknown         404  no webhook endpoint of this id, or another tenant's
    ├── WebhookDeliveryUnknown         404  no delivery of this id to this endpoint
    ├── TooManyWebhookEndpoints        409  the tenant has as many as it may: final
    ├── WebhookUnreachable             502  the receiver of a test did not answer: final
    ├── FileUnknown                    404  no file of this id, or another tenant's
    ├── FileInUse                      409  a batch that has not ended reads it: final
    ├── StorageFull                    403  the tenant's files take as much as they may: final
    ├── BatchUnknown                   404  no batch of this id, or another tenant's
    ├── BatchFinished                  409  a batch that has ended cannot be cancelled: final
    ├── TooManyBatches                 429  the tenant has as many batches under way as it may: try again
    ├── LineUnreadable                 400  a line of a batch that is no request of the batch's endpoint
    ├── LineErased                     400  a line of a batch that was erased, because of what it said
    ├── BatchExpired                   410  a line that was not run in time, and will not be
    ├── RouteUnknown                   404  no such path
    ├── JobUnknown                     404  no job of this id, or another tenant's
    ├── MethodUnsupported              405  the path exists, the method does not
    ├── JobUnfinished                  409  the job has no result yet: try again
    ├── JobFinished                    409  a finished job cannot be cancelled: final
    ├── JobCancelled                   409  a cancelled job has no result: final
    ├── JobExpired                     410  the job was not finished in time, and will not be
    ├── IdempotencyKeyReused           422  the key came with another body before
    ├── RangeUnsatisfiable             416  a range of bytes that begins behind the file's end
    ├── BodyTooLarge                   413  more bytes than stated
    ├── BodyTooSlow                    408  the body did not come in time
    ├── PromptRefused                  400  safety said no to the prompt: final, never retried
    │   └── CrisisSupport              400  a person may be in danger: help text, no job, nothing kept
    ├── ImageRefused                   400  safety said no to every candidate
    ├── FeatureUnavailable             501  known, not built into this deployment
    ├── StageUnavailable               503  a stage is down or starting: try again
    │   ├── RecordsUnavailable         503  the database or the picture store cannot be asked: try again
    │   ├── GatewayStopping            503  this gateway is about to stop: another, or its successor, will answer
    │   ├── GatewayFull                429  no more are answered at once than are: try again
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
    ├── SpeciesListInvalid             500  a list of species to tell apart that is not understood
    ├── BackupInvalid                  500  no such backup, or one that is altered, incomplete or of a later release
    ├── DatabaseNotEmpty               500  a backup is put into an empty database only
    ├── BackendMissing                 500  a runtime or device that was asked for is not here; no other is taken
    ├── BundleUnavailable              500  an object store does not give a model bundle
    └── BundleInvalid                  500  a model bundle that is altered, truncated or foreign
        └── BundleTooLarge             500  a bundle that does not fit the memory it was given

The gateway and the services answer with `error_body(...)`; `error_from_body` turns a stage's answer back into the same
class, so that an error crosses a process border as a fact and not as a status code. `retry_after_seconds` becomes the
`Retry-After` header. Messages name the field, the value and what would be accepted, and never contain a prompt.
"""

from bowerbird.errors.backups import BackupInvalid, DatabaseNotEmpty
from bowerbird.errors.bundles import (
    BackendMissing,
    BundleInvalid,
    BundleTooLarge,
    BundleUnavailable,
    SpeciesListInvalid,
)
from bowerbird.errors.error import BowerbirdError, error_body, error_from_body
from bowerbird.errors.files import (
    BatchExpired,
    BatchFinished,
    BatchUnknown,
    FileInUse,
    FileUnknown,
    LineErased,
    LineUnreadable,
    StorageFull,
    TooManyBatches,
)
from bowerbird.errors.identity import (
    KeyEnded,
    KeyExpired,
    KeyInvalid,
    KeyRevoked,
    KeyUnknown,
    LimitReached,
    ScopeMissing,
    TenantDisabled,
    TenantExists,
    TenantUnknown,
    TierExceeded,
)
from bowerbird.errors.jobs import (
    ComputingTooLong,
    JobCancelled,
    JobExpired,
    JobFinished,
    JobQuarantined,
    JobUnfinished,
    JobUnknown,
)
from bowerbird.errors.pictures import CertificateInvalid, DrawingFailed, LabelFailed, PictureLost
from bowerbird.errors.request import (
    BodyTooLarge,
    BodyTooSlow,
    FeatureUnavailable,
    FieldUnknown,
    IdempotencyKeyReused,
    LoraInvalid,
    LoraUnknown,
    MethodUnsupported,
    ModelUnknown,
    PromptTooLong,
    RangeUnsatisfiable,
    RequestInvalid,
    RequestUnknown,
    RouteUnknown,
    SizeUnsupported,
)
from bowerbird.errors.rights import ErasureUnknown, ExportUnknown
from bowerbird.errors.safety import CrisisSupport, ImageRefused, PolicyInvalid, PromptRefused
from bowerbird.errors.stages import (
    DeadlineExceeded,
    GatewayFull,
    GatewayStopping,
    GrantStale,
    QueueFull,
    QueueTimeout,
    RecordsUnavailable,
    StageBroken,
    StageFull,
    StageUnavailable,
    TenantQueueFull,
)
from bowerbird.errors.webhooks import (
    TooManyWebhookEndpoints,
    WebhookDeliveryUnknown,
    WebhookEndpointUnknown,
    WebhookUnreachable,
)

__all__ = [
    "BackendMissing",
    "BackupInvalid",
    "BatchExpired",
    "BatchFinished",
    "BatchUnknown",
    "BodyTooLarge",
    "BodyTooSlow",
    "BowerbirdError",
    "BundleInvalid",
    "BundleTooLarge",
    "BundleUnavailable",
    "CertificateInvalid",
    "ComputingTooLong",
    "CrisisSupport",
    "DatabaseNotEmpty",
    "DeadlineExceeded",
    "DrawingFailed",
    "ErasureUnknown",
    "ExportUnknown",
    "FeatureUnavailable",
    "FieldUnknown",
    "FileInUse",
    "FileUnknown",
    "GatewayFull",
    "GatewayStopping",
    "GrantStale",
    "IdempotencyKeyReused",
    "ImageRefused",
    "JobCancelled",
    "JobExpired",
    "JobFinished",
    "JobQuarantined",
    "JobUnfinished",
    "JobUnknown",
    "KeyEnded",
    "KeyExpired",
    "KeyInvalid",
    "KeyRevoked",
    "KeyUnknown",
    "LabelFailed",
    "LimitReached",
    "LineErased",
    "LineUnreadable",
    "LoraInvalid",
    "LoraUnknown",
    "MethodUnsupported",
    "ModelUnknown",
    "PictureLost",
    "PolicyInvalid",
    "PromptRefused",
    "PromptTooLong",
    "QueueFull",
    "QueueTimeout",
    "RangeUnsatisfiable",
    "RecordsUnavailable",
    "RequestInvalid",
    "RequestUnknown",
    "RouteUnknown",
    "ScopeMissing",
    "SizeUnsupported",
    "SpeciesListInvalid",
    "StageBroken",
    "StageFull",
    "StageUnavailable",
    "StorageFull",
    "TenantDisabled",
    "TenantExists",
    "TenantQueueFull",
    "TenantUnknown",
    "TierExceeded",
    "TooManyBatches",
    "TooManyWebhookEndpoints",
    "WebhookDeliveryUnknown",
    "WebhookEndpointUnknown",
    "WebhookUnreachable",
    "error_body",
    "error_from_body",
]
