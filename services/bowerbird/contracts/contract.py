"""What all contracts share: headers, bounds, the closed and frozen model."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DEADLINE_HEADER = "bowerbird-deadline-ms"


REQUEST_ID_HEADER = "bowerbird-request-id"


SERVICE_HEADER = "bowerbird-service"


CLASS_HEADER = "bowerbird-class"


FLOW_HEADER = "bowerbird-flow"


WEIGHT_HEADER = "bowerbird-weight"


GRANT_HEADER = "bowerbird-grant"


PROGRESS_HEADER = "bowerbird-progress"


MAX_PROMPT_CHARACTERS = 2_000


MAX_SEED = 2**63 - 1


MAX_STEPS = 50


MAX_IMAGES = 10


MAX_CANDIDATES = 8


MAX_FRAMES_PER_REQUEST = 20


MAX_LORAS = 4


MAX_FILE_BYTES = 10 * 1024 * 1024


MAX_FILE_PIXELS = 4096 * 4096


MAX_LORA_WEIGHT = 4.0


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


LoraId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


Milliseconds = Annotated[float, Field(ge=0)]


class Contract(BaseModel):
    """Closed and frozen: an unknown field is an error on either side, and nobody edits what was received.

    A ValidationError does not quote its input, because that may be a prompt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", hide_input_in_errors=True)


def seed_of(request_seed: int, index: int) -> int:
    """The seed of frame `index` of a request: `(request_seed + index) mod 2**63`.

    Frame k of a request with seed s is therefore frame 0 of a request with seed s + k: any single picture can be drawn
    again on its own.
    """
    return (request_seed + index) % (MAX_SEED + 1)
