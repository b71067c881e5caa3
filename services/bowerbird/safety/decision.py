"""From what the gates found to the decision that leaves the service.

The pipeline calls `decision`, or `crisis_decision` as soon as the crisis gate spoke. A decision never contains the
prompt, except as `redacted_prompt`; one about a person in danger does not even contain that, nor where or how surely
something was seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from bowerbird.contracts import MAX_PROMPT_CHARACTERS, Action, Decision, GateReport, HelpResource, Span
from bowerbird.safety.gates import Finding, Texts
from bowerbird.safety.personal_data import CATEGORY as PERSONAL_DATA
from bowerbird.safety.policy import HelpText, HelpTexts, Policy

# All that is told about how sure the crisis gate was.
CRISIS_BUCKETS = (0.5, 0.9)


@dataclass(slots=True)
class Evidence:
    """What is known about one prompt so far; `findings` with the name of their gate, `started` on perf_counter."""

    started: float
    texts: Texts
    reports: list[GateReport] = field(default_factory=list)
    findings: list[tuple[str, Finding]] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Since the check began."""
        return (time.perf_counter() - self.started) * 1000

    @property
    def strongest(self) -> Action:
        """The strongest action of any gate."""
        return max((report.action for report in self.reports), key=lambda action: action.strength)

    @property
    def steps(self) -> list[str]:
        """What normalisation met, in either text."""
        negative = self.texts.negative_prompt
        return sorted({*self.texts.prompt.steps, *(negative.steps if negative else ())})


def decision(policy: Policy, evidence: Evidence) -> Decision:
    """The decision after every gate was asked; findings below every threshold show in the scores only."""
    counted = [(gate, each) for gate, each in evidence.findings if policy.text_action(each) is not Action.ALLOW]
    action, reasons = evidence.strongest, {_reason(each) for _, each in counted}
    redacted, redacted_negative = _redacted(evidence.texts, [each for _, each in counted])
    if max(len(redacted), len(redacted_negative or "")) > MAX_PROMPT_CHARACTERS:
        # Placeholders can be longer than what they replace; no model takes such a text, and cutting it would be a lie.
        action = max(action, Action.BLOCK, key=lambda each: each.strength)
        reasons.add(f"{PERSONAL_DATA}.too_much")
    scores = _scores(policy, [each for _, each in evidence.findings])
    return Decision(
        id=_new_id(),
        action=action,
        reasons=sorted(reasons),
        flagged=action is not Action.ALLOW,
        **_by_category(policy, scores),
        spans=[_span(gate, each) for gate, each in counted if each.text == "prompt"],
        redacted_prompt=None if action.stops else redacted,
        redacted_negative_prompt=None if action.stops else redacted_negative,
        gates=evidence.reports,
        normalisation=evidence.steps,
        policy=policy.reference,
        latency_ms=evidence.milliseconds,
    )


def crisis_decision(policy: Policy, texts: HelpTexts, help_text: HelpText, evidence: Evidence) -> Decision:
    """Help instead of a picture: reasons, a score bucket and the help text; nothing that tells what was written.

    Where the prompt is written in a language other than the locale's, its help text follows in that language.
    """
    findings = [each for _, each in evidence.findings if policy.text_action(each) is Action.CRISIS]
    scores = {each.category: _bucket(each.score) for each in sorted(findings, key=lambda each: each.score)}
    helps = _unique(
        [help_text, *(texts.for_locale(each.language) for each in findings if each.language not in {None, "en"})]
    )
    return Decision(
        id=_new_id(),
        action=Action.CRISIS,
        reasons=sorted(f"crisis.{name}" for name in scores),
        flagged=True,
        **_by_category(policy, _scores(policy, ()) | scores | {"crisis": max(scores.values())}),
        spans=[],
        redacted_prompt=None,
        redacted_negative_prompt=None,
        gates=[report.model_copy(update={"score": _bucket(report.score)}) for report in evidence.reports],
        normalisation=[],
        policy=policy.reference,
        latency_ms=evidence.milliseconds,
        help_text="\n\n".join(each.text for each in helps),
        resources=_resources(helps, texts.everywhere),
    )


def redact(text: str, findings: Iterable[Finding]) -> str:
    """`text` with the characters of each finding (they must not overlap) replaced by `<ENTITY>`."""
    parts, position = [], 0
    for each in sorted(findings, key=lambda finding: finding.start):
        parts += [text[position : each.start], f"<{each.entity}>"]
        position = each.end
    return "".join([*parts, text[position:]])


def _redacted(texts: Texts, findings: list[Finding]) -> tuple[str, str | None]:
    personal = [each for each in findings if each.category == PERSONAL_DATA]
    prompt = redact(texts.prompt.original, [each for each in personal if each.text == "prompt"])
    if texts.negative_prompt is None:
        return prompt, None
    negative = [each for each in personal if each.text == "negative_prompt"]
    return prompt, redact(texts.negative_prompt.original, negative)


def _scores(policy: Policy, findings: Iterable[Finding]) -> dict[str, float]:
    """The highest score of every category that texts can have."""
    scores = {name: 0.0 for name, category in policy.categories.items() if category.text or not category.image}
    for each in findings:
        scores[each.category] = max(scores[each.category], each.score)
    return scores


def _by_category(policy: Policy, scores: dict[str, float]) -> dict[str, object]:
    """The three fields that OpenAI's moderation has by category."""
    return {
        "categories": {name: score > 0 and score >= policy.threshold(name, "text") for name, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in scores},
    }


def _reason(finding: Finding) -> str:
    return f"{PERSONAL_DATA}.{finding.entity.lower()}" if finding.category == PERSONAL_DATA else finding.category


def _span(gate: str, finding: Finding) -> Span:
    return Span(start=finding.start, end=finding.end, entity=finding.entity, gate=gate, score=finding.score)


def _bucket(score: float) -> float:
    return max((each for each in CRISIS_BUCKETS if score >= each), default=0.0)


def _unique(helps: list[HelpText]) -> list[HelpText]:
    return [each for number, each in enumerate(helps) if each not in helps[:number]]


def _resources(helps: list[HelpText], everywhere: tuple[HelpResource, ...]) -> list[HelpResource]:
    return [*(resource for each in helps for resource in each.resources), *everywhere]


def _new_id() -> str:
    return f"sfd_{uuid4().hex}"
