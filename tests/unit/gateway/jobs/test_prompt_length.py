"""A prompt that the model does not read whole becomes no job; what cannot be too long is not asked about."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import Response

from bowerbird.errors import PromptTooLong

from ..conftest import PROMPT
from ..stand_ins import StandIns
from .submitting import ASYNC, ended

LONG = "a robin " * 10


def test_a_prompt_that_the_model_does_not_read_whole_becomes_no_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/read_prompt"] = lambda: PromptTooLong("prompt has 80 tokens.", param="prompt")
    refused = gateway.post("/v1/images/generations", json={"prompt": LONG}, headers=ASYNC)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "prompt_too_long")
    assert {each.path for each in stages.seen} == {"/check_prompt", "/read_prompt"}


@pytest.mark.parametrize(("prompt", "times"), [(PROMPT, 0), (LONG, 1), ("ein Eisvögelchen", 1)])
def test_only_what_could_be_too_long_is_asked_about_and_nobody_has_to_answer(
    gateway: httpx2.Client, stages: StandIns, prompt: str, times: int
) -> None:
    stages.behaviour.answers["/read_prompt"] = lambda: Response(status_code=404)  # as a release before
    answer = gateway.post("/v1/images/generations", json={"prompt": prompt}, headers=ASYNC)
    assert ended(gateway, answer.json()["id"])["status"] == "succeeded"
    assert len(stages.asked("/read_prompt")) == times
