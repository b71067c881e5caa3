"""The shapes of `/v1/batches`: OpenAI's, with what this version accepts of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bowerbird.gateway.api.body import RequestBody, ResponseBody
from bowerbird.gateway.api.file_bodies import ExpiresAfter
from bowerbird.gateway.batches.batch import MAX_LINES, Batch, BatchState

GENERATIONS, EDITS, MODERATIONS = "/v1/images/generations", "/v1/images/edits", "/v1/moderations"

Endpoint = Literal["/v1/images/generations", "/v1/images/edits", "/v1/moderations"]
MetadataName = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]

_NO_TEXT = "this deployment draws pictures"


class CreateBatch(RequestBody):
    """Answer every line of a file, when nobody else waits."""

    completion_window: Literal["24h"] = Field(description="What is not answered by then never will be.")
    endpoint: Endpoint = Field(description="What every line of the file is a request to.", examples=[GENERATIONS])
    input_file_id: str = Field(
        min_length=1,
        max_length=64,
        description=f"`id` of a file with purpose batch: up to {MAX_LINES} lines.",
        examples=["file-0123456789abcdef01234567"],
    )
    metadata: dict[MetadataName, MetadataValue] | None = Field(
        default=None,
        max_length=16,
        description="Up to 16 names of up to 64 characters, each with a text of up to 512, for your own use.",
        examples=[{"team": "birds"}],
    )
    output_expires_after: ExpiresAfter | None = Field(
        default=None, description="How long the output and the error file are kept; 30 days when absent."
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {
        "endpoint=/v1/responses": _NO_TEXT,
        "endpoint=/v1/chat/completions": _NO_TEXT,
        "endpoint=/v1/completions": _NO_TEXT,
        "endpoint=/v1/embeddings": _NO_TEXT,
        "endpoint=/v1/videos": "moving pictures come with a later version",
    }
    ACCEPTED: ClassVar[Mapping[str, str]] = {"endpoint": f"Accepted: {GENERATIONS}, {EDITS} or {MODERATIONS}"}


class RequestCounts(ResponseBody):
    """How far a batch is; counted when an outcome is stored."""

    total: int = Field(ge=0, description="Lines of the input that are not blank; 0 while it is validated.")
    completed: int = Field(ge=0, description="Lines whose answer is in the output file.")
    failed: int = Field(ge=0, description="Lines whose error is in the error file.")


class InputTokensDetails(ResponseBody):
    """Of the tokens that were read."""

    cached_tokens: int = Field(default=0, ge=0, description="Always 0: none is read from a cache.")


class OutputTokensDetails(ResponseBody):
    """Of the tokens that were made."""

    reasoning_tokens: int = Field(default=0, ge=0, description="Always 0: nothing is reasoned.")


class BatchUsage(ResponseBody):
    """Tokens of all answers so far."""

    input_tokens: int = Field(ge=0, description="Of the prompts.")
    input_tokens_details: InputTokensDetails = Field(description="What kind they were.")
    output_tokens: int = Field(ge=0, description="Of the pictures.")
    output_tokens_details: OutputTokensDetails = Field(description="What kind they were.")
    total_tokens: int = Field(ge=0, description="Of both.")


class BatchFault(ResponseBody):
    """What is wrong with a batch as a whole."""

    code: str = Field(description="empty_file, too_many_lines, file_not_found or file_lost.")
    line: int | None = Field(description="Of the input file, from 1, where it is about one.")
    message: str = Field(description="One sentence.")
    param: str | None = Field(description="The field it is about.")


class BatchFaults(ResponseBody):
    """Why a batch failed."""

    object: Literal["list"] = Field(default="list", description="Always `list`.")
    data: list[BatchFault] = Field(description="What is wrong.")


class BatchBody(ResponseBody):
    """A batch of the caller's tenant."""

    id: str = Field(description="Its name in the API.", examples=["batch_0123456789abcdef01234567"])
    object: Literal["batch"] = Field(default="batch", description="Always `batch`.")
    endpoint: Endpoint = Field(description="What its lines are requests to.")
    model: str | None = Field(description="What answers, where that was known when it began.")
    errors: BatchFaults | None = Field(description="Why it failed as a whole; null where it did not.")
    input_file_id: str = Field(description="Its lines.")
    completion_window: Literal["24h"] = Field(default="24h", description="Always `24h`.")
    status: BatchState = Field(
        description="validating: not begun; in_progress; cancelling; and how it ended: completed (every line has an "
        "outcome), failed (the file as a whole is no batch), expired, cancelled."
    )
    output_file_id: str | None = Field(description="Answers, when it has ended and there are some; in no order.")
    error_file_id: str | None = Field(
        description="Errors of lines, when it has ended and there are some: what the endpoint would answer, or "
        "`invalid_line` (it is no request), `line_erased` (its text may be kept nowhere) and `batch_expired`."
    )
    created_at: int = Field(description="Unix seconds.")
    in_progress_at: int | None = Field(description="Unix seconds: when its first line was read.")
    expires_at: int = Field(description="Unix seconds: lines that were not run by then never will be.")
    finalizing_at: int | None = Field(description="Unix seconds, as completed_at: nothing is put together at the end.")
    completed_at: int | None = Field(description="Unix seconds, where it is completed.")
    failed_at: int | None = Field(description="Unix seconds, where it failed.")
    expired_at: int | None = Field(description="Unix seconds, where it expired.")
    cancelling_at: int | None = Field(description="Unix seconds, where somebody cancelled it.")
    cancelled_at: int | None = Field(description="Unix seconds, where it is cancelled.")
    request_counts: RequestCounts = Field(description="How far it is.")
    usage: BatchUsage = Field(description="What was read and made so far.")
    metadata: dict[str, str] | None = Field(description="As it was created with.")


class BatchList(ResponseBody):
    """Batches of the caller's tenant, newest first."""

    object: Literal["list"] = Field(default="list", description="Always `list`.")
    data: list[BatchBody] = Field(description="The batches.")
    has_more: bool = Field(description="Whether there are older ones.")
    first_id: str | None = Field(description="`id` of the first batch here.")
    last_id: str | None = Field(description="`id` of the last batch here: send it as `after` for the next page.")


def batch_body(batch: Batch) -> BatchBody:
    """The batch as the API shows it; its files are there when it has ended."""
    finished = None if batch.finished_ms is None else batch.finished_ms // 1000
    ended = {state: finished if batch.state is state else None for state in BatchState}
    completed = ended[BatchState.COMPLETED]
    return BatchBody.model_validate(
        {
            "id": batch.id,
            "endpoint": batch.endpoint,
            "model": batch.model,
            "errors": None if batch.errors is None else {"data": json.loads(batch.errors)},
            "input_file_id": batch.input_file_id,
            "status": batch.state,
            "output_file_id": batch.output_file_id if batch.state.final else None,
            "error_file_id": batch.error_file_id if batch.state.final else None,
            "created_at": batch.created_ms // 1000,
            "in_progress_at": _seconds(batch.begun_ms),
            "expires_at": batch.expires_ms // 1000,
            "finalizing_at": completed,
            "completed_at": completed,
            "failed_at": ended[BatchState.FAILED],
            "expired_at": ended[BatchState.EXPIRED],
            "cancelling_at": _seconds(batch.cancelling_ms),
            "cancelled_at": ended[BatchState.CANCELLED],
            "request_counts": RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
            "usage": BatchUsage(
                input_tokens=batch.input_tokens,
                input_tokens_details=InputTokensDetails(),
                output_tokens=batch.output_tokens,
                output_tokens_details=OutputTokensDetails(),
                total_tokens=batch.input_tokens + batch.output_tokens,
            ),
            "metadata": None if batch.metadata is None else json.loads(batch.metadata),
        }
    )


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000
