"""What safety refuses, and a policy that cannot be read."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


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


class PolicyInvalid(BowerbirdError):
    """A safety policy, or a file that it pins, is not understood or not the pinned one: nothing is decided by guess."""

    code = "policy_invalid"
