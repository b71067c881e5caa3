"""The prompt's way: fail closed, strongest action, replayable, and silent about the prompt."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from bowerbird.contracts import Action, Decision, PromptCheck
from bowerbird.errors import StageUnavailable
from bowerbird.safety.gates import Finding, Gate
from bowerbird.safety.pipeline import PromptPipeline
from bowerbird.safety.policy import HelpTexts, Policy

from .conftest import Check, FixedGate, corpus

SECRET = "zebra finch of nobody"


def through(policy: Policy, help_texts: HelpTexts, *gates: Gate) -> PromptPipeline:
    return PromptPipeline(policy, help_texts, gates)


@pytest.mark.parametrize(
    "failure", [ValueError(SECRET), MemoryError(), TimeoutError(), KeyError(SECRET), RecursionError()]
)
def test_gate_that_raises_is_unavailable_and_never_allowed(
    policy: Policy, help_texts: HelpTexts, log: list[logging.LogRecord], failure: Exception
) -> None:
    with pytest.raises(StageUnavailable, match="broken could not decide") as raised:
        through(policy, help_texts, FixedGate([]), FixedGate(failure, "broken")).check(PromptCheck(prompt=SECRET))
    assert raised.value.retry_after_seconds
    assert SECRET not in raised.value.message
    assert SECRET not in str([vars(record) for record in log])


def test_gate_that_fails_after_a_block_still_fails_closed(policy: Policy, help_texts: HelpTexts) -> None:
    blocking = FixedGate([Finding("hate", 1.0, 0, 1, "hate")])
    with pytest.raises(StageUnavailable):
        through(policy, help_texts, blocking, FixedGate(OSError())).check(PromptCheck(prompt=SECRET))


@pytest.mark.parametrize(
    ("category", "score"), [("rudeness", 1.0), ("hate", float("nan")), ("hate", 1.1), ("hate", -1)]
)
def test_answer_that_the_policy_cannot_weigh_fails_closed(
    policy: Policy, help_texts: HelpTexts, category: str, score: float
) -> None:
    with pytest.raises(StageUnavailable):
        through(policy, help_texts, FixedGate([Finding(category, score, 0, 1, "x")])).check(PromptCheck(prompt=SECRET))


def test_learned_gate_is_one_more_gate(policy: Policy, help_texts: HelpTexts) -> None:
    learned = FixedGate([Finding("violence", 0.45, 0, 5, "violence")], "minilm")
    decision = through(policy, help_texts, learned).check(PromptCheck(prompt=SECRET))
    assert decision.action is Action.FLAG
    assert decision.reasons == ["violence"]
    assert [(report.name, report.detector) for report in decision.gates][-1] == ("minilm", "fixed@1")


@given(st.lists(st.tuples(st.sampled_from(["hate", "sexual", "pii", "violence", "sexual/minors"]), st.floats(0, 1))))
def test_strongest_action_wins(policy: Policy, help_texts: HelpTexts, found: list[tuple[str, float]]) -> None:
    gates = [FixedGate([Finding(category, score, 0, 1, category)]) for category, score in found]
    decision = through(policy, help_texts, *gates).check(PromptCheck(prompt=SECRET))
    expected = max((policy.action(*each, "text").strength for each in found), default=0)
    assert decision.action.strength == expected
    assert decision.flagged == (decision.action is not Action.ALLOW)


@pytest.mark.parametrize("stop", [Action.ESCALATE, Action.BLOCK])
def test_what_stops_has_no_redacted_prompt(policy: Policy, help_texts: HelpTexts, stop: Action) -> None:
    score = policy.categories["sexual/minors"].text[stop]
    gate = FixedGate([Finding("sexual/minors", score, 0, 1, "x"), Finding("pii", 1.0, 2, 4, "EMAIL_ADDRESS")])
    decision = through(policy, help_texts, gate).check(PromptCheck(prompt=SECRET, negative_prompt="mud"))
    assert decision.action is stop
    assert decision.redacted_prompt is None
    assert decision.redacted_negative_prompt is None


def test_allowed_prompt_goes_on_as_it_was_typed(check: Check) -> None:
    prompt = "Ein Rotkehlchen, 8k — f/2.8 🐦 \u200b"
    decision = check(prompt, "mud")
    assert decision.redacted_prompt == prompt
    assert decision.redacted_negative_prompt == "mud"
    assert check(prompt).redacted_negative_prompt is None


def test_finding_below_every_threshold_shows_in_the_scores_only(policy: Policy, help_texts: HelpTexts) -> None:
    decision = through(policy, help_texts, FixedGate([Finding("hate", 0.1, 0, 1, "hate")])).check(
        PromptCheck(prompt=SECRET)
    )
    assert decision.action is Action.ALLOW
    assert decision.category_scores["hate"] == 0.1
    assert not any(decision.categories.values())
    assert decision.spans == []


def timeless(decision: Decision) -> dict[str, Any]:
    """A decision without what differs each time."""
    facts = decision.model_dump(exclude={"id", "latency_ms"})
    return facts | {"gates": [each.model_dump(exclude={"latency_ms"}) for each in decision.gates]}


def test_same_policy_and_prompt_give_the_same_decision(check: Check) -> None:
    for entry in corpus()[::7]:
        first, second = (check(entry["prompt"], entry.get("negative_prompt")) for _ in range(2))
        assert timeless(first) == timeless(second)
        assert first.id != second.id


def test_decision_tells_every_gate_with_its_time_and_detector(check: Check, policy: Policy) -> None:
    decision = check("a robin")
    assert [report.name for report in decision.gates] == ["normalise", *(gate.name for gate in policy.gates)]
    assert all("@" in report.detector for report in decision.gates)
    assert decision.latency_ms >= max(report.latency_ms for report in decision.gates)
    assert decision.policy == policy.reference


def test_openai_fields_speak_of_every_text_category(check: Check) -> None:
    decision = check("kill all jews")
    assert decision.categories["hate/threatening"]
    assert decision.categories.keys() == decision.category_scores.keys() == decision.category_applied_input_types.keys()
    assert "blank" not in decision.categories


@settings(max_examples=30)
@given(st.text(st.characters(categories=["L", "N"]), min_size=12, max_size=40))
def test_no_decision_or_log_quotes_the_prompt(pipeline: PromptPipeline, secret: str) -> None:
    decision = pipeline.check(PromptCheck(prompt=f"kill all jews {secret}"))
    assert secret not in decision.model_dump_json()


def test_log_line_has_facts_only(check: Check, log: list[logging.LogRecord]) -> None:
    check("portrait of anna@example.org")
    (record,) = log
    assert (record.__dict__["action"], record.__dict__["reasons"]) == ("redact", ["pii.email_address"])
    assert "anna" not in str(vars(record))


def test_metrics_count_decisions_and_time_every_gate(check: Check) -> None:
    def count(action: str) -> float:
        labels = {"stage": "prompt", "action": action}
        return REGISTRY.get_sample_value("bowerbird_safety_decisions_total", labels) or 0.0

    blocked, timed = count("block"), REGISTRY.get_sample_value("bowerbird_safety_gate_seconds_count", {"gate": "hate"})
    check("kill all jews")
    assert count("block") == blocked + 1
    assert REGISTRY.get_sample_value("bowerbird_safety_gate_seconds_count", {"gate": "hate"}) == (timed or 0) + 1


def test_warming_up_asks_every_gate_and_decides_nothing(policy: Policy, help_texts: HelpTexts) -> None:
    gate = FixedGate([])
    through(policy, help_texts, gate).warm_up("a robin")
    assert gate.asked == 1
    with pytest.raises(StageUnavailable):
        through(policy, help_texts, FixedGate(OSError())).warm_up("a robin")
