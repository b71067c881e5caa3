"""What the stand-ins for the stages describe and answer, unless a test wants something else of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bowerbird.contracts import (
    Action,
    CurationDescription,
    Decision,
    FrameJudgement,
    HelpResource,
    ImageDecisions,
    ImageVerdict,
    Judgement,
    JudgeRequest,
    LoraFacts,
    ModelDescription,
    PolicyReference,
    PromptCheck,
    ProvenanceReport,
    Ranking,
    Score,
    Size,
)

DIGEST = "sha256:" + "a" * 64
POLICY = PolicyReference(id="policy", version="1", digest="sha256:" + "b" * 64)
MODEL = ModelDescription(
    name="fledgling",
    version="1",
    digest=DIGEST,
    licence="Apache-2.0",
    created=1_790_000_000,
    sizes=[Size(width=32, height=32), Size(width=64, height=32)],
    max_steps=30,
    default_steps=20,
    default_guidance_scale=4,
    max_guidance_scale=15,
    max_prompt_tokens=75,
    slots=4,
    max_lora_rank=64,
    previews=True,
    edits=True,
)
CURATION = CurationDescription(version="9.9", judge="judge@1", certificate="sha256:" + "f" * 64)
LORA = LoraFacts(id="watercolour", digest="sha256:" + "c" * 64, rank=16, bytes=1_000)

REPORT = ProvenanceReport(
    outcome="detected",
    validation_state="valid",
    verdict="made_here_intact",
    issuer="Bowerbird",
    model="fledgling",
    generated_at="2026-11-21T00:00:00Z",
    explanation="Made here.",
)


def decision(check: PromptCheck, action: Action = Action.ALLOW, **changes: Any) -> Decision:
    """What safety would say of a prompt that it allows, or `changes` of it."""
    stops = action.stops
    facts: dict[str, Any] = {
        "id": "dec_1",
        "action": action,
        "reasons": [] if action is Action.ALLOW else ["violence.pattern"],
        "flagged": stops,
        "categories": {"violence": stops, "pii": action is Action.REDACT},
        "category_scores": {"violence": 0.9 if stops else 0.01, "pii": 0.0},
        "category_applied_input_types": {"violence": ["text"], "pii": ["text"]},
        "spans": [],
        "redacted_prompt": None if stops else check.prompt,
        "redacted_negative_prompt": None if stops else check.negative_prompt,
        "gates": [],
        "normalisation": [],
        "policy": POLICY,
        "latency_ms": 1.0,
    }
    if action is Action.CRISIS:
        facts |= {
            "help_text": "You are not alone.",
            "resources": [HelpResource(name="Helpline", contact="116 123", locale="en")],
        }
    return Decision(**(facts | changes))


def judgement(asked: JudgeRequest, totals: Callable[[int], float] = float) -> Judgement:
    """Rankings by `totals(frame)`, higher first; by default the last candidate is the best."""
    frames = [
        FrameJudgement(
            index=index,
            total=totals(index),
            scores=[
                Score(
                    name="prompt_match",
                    version="1",
                    value=0.25,
                    direction="higher_is_better",
                    minimum=0,
                    maximum=1,
                )
            ],
        )
        for index in range(asked.images * asked.candidates)
    ]
    rankings = []
    for image in range(asked.images):
        own = range(image * asked.candidates, (image + 1) * asked.candidates)
        rankings.append(Ranking(image=image, order=sorted(own, key=totals, reverse=True), margin=1, tie=False))
    return Judgement(frames=frames, rankings=rankings, tie_margin=0.1, judge="judge@1")


def verdicts(count: int, blocked: frozenset[int] = frozenset()) -> ImageDecisions:
    """Safety's verdicts on frames, all allowed but those in `blocked`."""
    return ImageDecisions(
        id="dec_2",
        verdicts=[
            ImageVerdict(
                index=index,
                action=Action.BLOCK if index in blocked else Action.ALLOW,
                reasons=["nsfw"] if index in blocked else [],
                category_scores={},
                gates=[],
            )
            for index in range(count)
        ],
        policy=POLICY,
        latency_ms=1.0,
    )
