"""How an attempt ended decides what becomes of the job."""

from __future__ import annotations

import inspect

import pytest

from bowerbird import errors
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.jobs.outcome import LONGEST_REST_SECONDS, ending_of
from bowerbird.gateway.records.job import Failure, PutBack

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BowerbirdError)]


@pytest.mark.parametrize("kind", [each for each in KINDS if issubclass(each, errors.StageUnavailable)])
def test_what_is_down_full_or_late_is_not_the_jobs_fault(kind: type[BowerbirdError]) -> None:
    ending = ending_of(kind("down"), attempts=1)
    assert isinstance(ending, PutBack)
    assert (ending.reason, ending.own_failure) == (kind.code, False)


def test_a_broken_stage_is_not_the_jobs_fault() -> None:
    ending = ending_of(errors.StageBroken("half an answer"), attempts=1)
    assert isinstance(ending, PutBack)
    assert not ending.own_failure


def test_a_tenant_that_is_switched_off_does_not_lose_its_jobs() -> None:
    assert ending_of(errors.TenantDisabled("off"), attempts=1) == PutBack("tenant_disabled", LONGEST_REST_SECONDS)


@pytest.mark.parametrize("error", [errors.DrawingFailed("NaN"), errors.LabelFailed("no"), ZeroDivisionError("a bug")])
def test_what_a_healthy_stage_says_of_this_picture_and_our_bugs_are_its_own(error: Exception) -> None:
    ending = ending_of(error, attempts=1)
    assert isinstance(ending, PutBack)
    assert ending.own_failure


@pytest.mark.parametrize(
    "kind", [errors.PromptRefused, errors.ImageRefused, errors.SizeUnsupported, errors.ModelUnknown]
)
def test_a_refusal_is_final_and_kept_as_it_was_said(kind: type[BowerbirdError]) -> None:
    ending = ending_of(kind("no", details={"reasons": ["nsfw"]}), attempts=1)
    assert isinstance(ending, Failure)
    assert ending.error["error"]["code"] == kind.code
    assert ending.error["error"]["reasons"] == ["nsfw"]


def test_a_foreign_exceptions_text_is_not_kept() -> None:
    assert "a robin" not in str(ending_of(ValueError("a robin for Jane Doe"), attempts=1))


def test_rests_grow_to_a_bound_and_are_as_long_as_was_asked_for_within_it() -> None:
    def rest(attempts: int, retry_after: int | None = None) -> float:
        ending = ending_of(errors.StageUnavailable("down", retry_after_seconds=retry_after), attempts)
        assert isinstance(ending, PutBack)
        return ending.rest_seconds

    rests = [rest(attempts) for attempts in range(1, 2_000)]
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_REST_SECONDS
    assert rest(1, retry_after=30) == 30
    assert rest(1, retry_after=3600) == LONGEST_REST_SECONDS
