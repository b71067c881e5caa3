"""`/v1/feedback`: what somebody thought of pictures that a request of this tenant brought."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import MAX_PROMPT_CHARACTERS, Action, Digest, PromptCheck
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.arrival import arrive, gateway_of
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.api.paging import limit_of, text_of
from bowerbird.gateway.call import Call
from bowerbird.gateway.feedback.feedback import WHOLE_ANSWER, Reward, Said, Written
from bowerbird.gateway.feedback.rewards import MAX_STARS, Kind, rewards
from bowerbird.gateway.feedback.text import kept_text
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.story import refusal_of
from bowerbird.gateway.upstream import Stage, broken

MAX_ID_CHARACTERS = 40
MAX_TAGS = 16

Tag = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z_-]{0,30}[a-z])?$")]


class GiveFeedback(RequestBody):
    """One thing that one person did about one picture, or about all of an answer."""

    request_id: str = Field(
        min_length=1,
        max_length=MAX_ID_CHARACTERS,
        pattern=r"^[!-~]+$",
        description="`x-request-id` of the answer with the pictures, or the id of the job; of the last seven days.",
        examples=["req_0123456789abcdef01234567"],
    )
    kind: Kind = Field(
        description="`stars`: how good it is; `chosen`: this one of the request's pictures; `like`, `favourite`, "
        "`share`, `download`: what was done with it; `report`: somebody should look at it; `none`: it was shown, and "
        "nothing was done."
    )
    image: int | None = Field(
        default=None,
        ge=0,
        description="Which picture of the answer, from 0; the answer as a whole when absent. `chosen` needs it.",
    )
    stars: int | None = Field(default=None, ge=1, le=MAX_STARS, description="With `stars`, and only there.")
    tags: list[Tag] = Field(
        default=[],
        max_length=MAX_TAGS,
        description="Words of your own: a to z, `_` and `-`, at most 32 characters each.",
        examples=[["too-dark"]],
    )
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="In the person's own words. Kept without the personal data in it; a text that reads like a person "
        "in danger is answered with help and not kept.",
    )
    safety_identifier: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = Field(
        default=None,
        description="A stable, hashed name of your end user. What the same user says again about the same picture "
        "replaces what they said before.",
    )

    PERSONAL = frozenset({"text", "safety_identifier"})


class FeedbackBody(ResponseBody):
    """Feedback as it is kept."""

    id: str
    object: Literal["feedback"] = "feedback"
    request_id: str
    kind: Kind
    image: int | None = Field(description="From 0; null is the answer as a whole.")
    stars: int | None = Field(description="1 to 5.")
    tags: list[str]
    text: str | None = Field(description="Without the personal data that was in it.")
    safety_identifier: str | None
    model_digest: Digest = Field(description="Of the bundle that drew.")
    variant: str = Field(description="What drew.")
    pictures: int = Field(description="How many the request brought.")
    reward: float | None = Field(description="What it is worth, -1 to 1; null for `chosen` and `report`.")
    rewards_version: int = Field(description="Of the file that states rewards.")
    rewards_digest: Digest = Field(description="Of that file.")
    created_at: int = Field(description="Unix seconds.")
    updated_at: int = Field(description="Unix seconds; later where it replaced what was said before.")


class FeedbackList(ResponseBody):
    """Feedback on the tenant's requests, newest first."""

    object: Literal["list"] = "list"
    data: list[FeedbackBody]
    has_more: bool
    next_cursor: str | None = Field(description="Send it as `after` for the next page.")


async def give_feedback(request: Request) -> Response:
    """Keeps what was said; the same again changes nothing."""
    gateway, call = arrive(request)
    asked = await read_json(request, GiveFeedback)
    about = await gateway.feedback.about(request.state.tenant, asked.request_id)
    _check(asked, about)
    text = None if asked.text is None else await unless_hung_up(request, _kept(asked.text, call, gateway))
    request.state.person = gateway.records.people.name(call.flow, asked.safety_identifier)
    said = Said(
        request_id=about.work_id,
        image=WHOLE_ANSWER if asked.image is None else asked.image,
        kind=asked.kind,
        rater=asked.safety_identifier or "",
        stars=asked.stars,
        tags=tuple(asked.tags),
        text=text,
        person=request.state.person,
    )
    stated = rewards()
    reward = Reward(stated.of(asked.kind, asked.stars), stated.version, stated.digest)
    written = await gateway.feedback.write(about, said, reward)
    return Response(_body(written).model_dump_json(), media_type="application/json")


async def list_feedback(request: Request) -> Response:
    """A page of feedback."""
    feedback = gateway_of(request).feedback
    limit, about = limit_of(request), text_of(request, "request_id")
    found, cursor = await feedback.page(request.state.tenant, limit, request.query_params.get("after"), about)
    body = FeedbackList(data=[_body(each) for each in found], has_more=cursor is not None, next_cursor=cursor)
    return Response(body.model_dump_json(), media_type="application/json")


def _check(asked: GiveFeedback, about: UsageEntry) -> None:
    """Raises RequestInvalid where fields do not belong together, or the request brought no such picture."""
    if (asked.kind is Kind.STARS) != (asked.stars is not None):
        raise RequestInvalid(f"stars: 1 to {MAX_STARS} with kind `stars`, and absent with any other.", param="stars")
    if asked.image is not None and asked.image >= about.pictures:
        raise RequestInvalid(f"image: the request brought {about.pictures}; the first is 0.", param="image")
    if asked.kind is Kind.CHOSEN and (asked.image is None or about.pictures == 1):
        raise RequestInvalid("image: `chosen` names one of several pictures of a request.", param="image")


async def _kept(text: str, call: Call, gateway: Gateway) -> str:
    """The text as it may be kept; raises CrisisSupport, and StageBroken or StageUnavailable where nobody says so."""
    async with call.within_deadline():
        with call.stage("check_prompt"):
            decision = await gateway.upstream.check_prompt(PromptCheck(prompt=text, locale=call.locale), call)
    if decision.action is Action.CRISIS:
        refusal = refusal_of(decision)
        refusal.param = "text"
        raise refusal
    kept = kept_text(text, decision)
    if kept is None:
        raise broken(Stage.SAFETY, "allowed a text without saying what of it may be kept")
    return kept


def _body(written: Written) -> FeedbackBody:
    return FeedbackBody(
        id=written.id,
        request_id=written.request_id,
        kind=written.kind,
        image=None if written.image == WHOLE_ANSWER else written.image,
        stars=written.stars,
        tags=list(written.tags),
        text=written.text,
        safety_identifier=written.rater or None,
        model_digest=written.model_digest,
        variant=written.variant,
        pictures=written.pictures,
        reward=written.reward,
        rewards_version=written.rewards_version,
        rewards_digest=written.rewards_digest,
        created_at=written.created_ms // 1000,
        updated_at=written.updated_ms // 1000,
    )
