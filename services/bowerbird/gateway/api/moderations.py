"""`POST /v1/moderations`: what safety says of a text, in OpenAI's shape.

All of OpenAI's categories are present; one that no gate looks at is `false` with the score 0 and an empty list of
applied input types, which says so. Safety's own categories, action and policy stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import MAX_PROMPT_CHARACTERS, OPENAI_CATEGORIES, Action, Decision, PolicyReference, PromptCheck
from bowerbird.errors import ModelUnknown
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.call import Call
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import unless_hung_up

MODEL = "bowerbird-safety"
MAX_INPUTS = 32

Text = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class TextInput(ResponseBody):
    """One item of a multi-modal input."""

    type: Literal["text"]
    text: Text


class CreateModeration(RequestBody):
    """Classify texts: a string, a list of strings (one result each), or a list of text items (one result in all)."""

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
        | Annotated[list[TextInput], Field(min_length=1, max_length=MAX_INPUTS)]
    ) = Field(
        description=f"Up to {MAX_INPUTS} texts of 1 to {MAX_PROMPT_CHARACTERS} characters. Images are not classified "
        "in this version.",
        examples=["an american robin perched on a branch in winter"],
    )
    model: str | None = Field(default=None, max_length=200, description=f"`{MODEL}`, or absent.")

    PERSONAL: ClassVar[frozenset[str]] = frozenset({"input"})

    @field_validator("input", mode="wrap")
    @classmethod
    def _one_fact(cls, value: Any, validate: Any) -> Any:
        """One finding about the whole field, where pydantic would list one for each member of the union."""
        try:
            return validate(value)
        except ValueError:
            items = value if isinstance(value, list) else []
            image = any(isinstance(item, dict) and item.get("type") == "image_url" for item in items)
            note = "Images are not classified in this version. " if image else ""
            raise PydanticCustomError(
                "input_shape",
                f"{note}Accepted: a string, up to {MAX_INPUTS} strings, or up to {MAX_INPUTS} objects "
                f"{{'type': 'text', 'text': …}}, each text of 1 to {MAX_PROMPT_CHARACTERS} characters",
            ) from None

    @property
    def texts(self) -> list[str]:
        """Every text, in order."""
        if isinstance(self.input, str):
            return [self.input]
        return [item if isinstance(item, str) else item.text for item in self.input]

    @property
    def is_one_input(self) -> bool:
        """True when all texts are one input: a string, or a list of text items."""
        return isinstance(self.input, str) or isinstance(self.input[0], TextInput)


class ModerationFacts(ResponseBody):
    """What safety would do with this text as a prompt; ours."""

    action: Action
    reasons: list[str]
    policy: PolicyReference


class ModerationResult(ResponseBody):
    """One input's result."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text", "image"]]]
    bowerbird: ModerationFacts


class Moderations(ResponseBody):
    """The results, in the order of the inputs."""

    id: str
    model: str
    results: list[ModerationResult]


@dataclass(frozen=True, slots=True)
class Moderated:
    """The answer, and whether any of the texts may be kept nowhere."""

    body: Moderations
    keep_nothing: bool


async def create_moderation(request: Request) -> Response:
    """Asks safety about every text."""
    gateway, call = arrive(request)
    asked = await read_json(request, CreateModeration)
    moderated = await unless_hung_up(request, moderate(asked, call, gateway))
    request.state.keep_nothing = moderated.keep_nothing
    return Response(moderated.body.model_dump_json(), media_type="application/json")


async def moderate(asked: CreateModeration, call: Call, gateway: Gateway) -> Moderated:
    """What safety says of every text; raises ModelUnknown, and what safety raises."""
    if asked.model not in (None, MODEL):
        raise ModelUnknown(
            f"model: {asked.model!r} is not served here. Accepted: {MODEL!r}, or no model at all.", param="model"
        )
    checks = [PromptCheck(prompt=text, locale=call.locale) for text in asked.texts]
    async with call.within_deadline():
        with call.stage("check_prompt"):
            decisions = [await gateway.upstream.check_prompt(check, call) for check in checks]
    results = [merged(decisions)] if asked.is_one_input else [merged([decision]) for decision in decisions]
    body = Moderations(id=f"modr_{call.request_id.removeprefix('req_')}", model=MODEL, results=results)
    return Moderated(body, any(decision.action is Action.CRISIS for decision in decisions))


def merged(decisions: list[Decision]) -> ModerationResult:
    """One result for texts that belong together: what any of them shows, and the strongest action."""
    strongest = max(decisions, key=lambda decision: decision.action.strength)
    names = sorted({*OPENAI_CATEGORIES, *(name for decision in decisions for name in decision.categories)})
    return ModerationResult(
        flagged=any(decision.flagged for decision in decisions),
        categories={name: any(decision.categories.get(name, False) for decision in decisions) for name in names},
        category_scores={
            name: max(decision.category_scores.get(name, 0.0) for decision in decisions) for name in names
        },
        category_applied_input_types={
            name: sorted({kind for each in decisions for kind in each.category_applied_input_types.get(name, [])})
            for name in names
        },
        bowerbird=ModerationFacts(action=strongest.action, reasons=strongest.reasons, policy=strongest.policy),
    )
