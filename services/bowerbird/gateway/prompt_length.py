"""Prompts that a model does not read whole are refused before they become jobs.

Who draws counts the tokens of what is drawn at once. A job is accepted long before that, and the gateway has no
tokenizer, so it asks who will draw: only of prompts that could be too long, since most are so short that they cannot,
and only whom it need not wake. Where nobody says, the job is accepted, and fails with the same error when it is drawn.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bowerbird.contracts import ModelDescription, PromptReading
from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.call import Call
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.stages import StageState
from bowerbird.gateway.story import Allowed
from bowerbird.gateway.upstream import Stage

MARKERS = 2
"""Tokens that a tokenizer may add."""
ANSWER_SECONDS = 2.0
"""A tokenizer needs microseconds: who takes longer is not asked."""


async def require_readable(
    allowed: Allowed, model: ModelDescription, stage: Stage, call: Call, gateway: Gateway
) -> None:
    """Raises PromptTooLong, naming `prompt` or `negative_prompt`."""
    prompts = (allowed.prompt, allowed.negative_prompt or "")
    if all(is_short(prompt, model.max_prompt_tokens) for prompt in prompts):
        return
    if gateway.stages.statuses[stage].state is not StageState.READY:
        return
    reading = PromptReading(prompt=allowed.prompt, negative_prompt=allowed.negative_prompt)
    with suppress(StageUnavailable, StageBroken, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            await gateway.upstream.read_prompt(stage, reading, call)


def is_short(prompt: str, max_tokens: int) -> bool:
    """Whether it cannot be too long: no tokenizer makes more tokens of ASCII text than it has characters."""
    return prompt.isascii() and len(prompt) + MARKERS <= max_tokens
