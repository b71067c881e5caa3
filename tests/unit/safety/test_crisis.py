"""A person in danger gets help, in a language they can read, and leaves no trace."""

from __future__ import annotations

import logging

import pytest

from bowerbird.contracts import Action, PromptCheck
from bowerbird.safety.pipeline import PromptPipeline
from bowerbird.safety.policy import HelpTexts, Policy

from .conftest import Check, FixedGate

SECRET = "draw a raven because i want to die, my mail is anna@example.org"


def test_nothing_of_the_prompt_leaves_in_a_crisis(check: Check) -> None:
    decision = check(SECRET, "i want to die with anna@example.org")
    assert decision.action is Action.CRISIS
    assert decision.redacted_prompt is None
    assert decision.redacted_negative_prompt is None
    assert decision.spans == []
    assert decision.normalisation == []
    for word in ("raven", "anna", "example.org", "because"):
        assert word not in decision.model_dump_json()


def test_scores_in_a_crisis_are_buckets(check: Check) -> None:
    decision = check(SECRET)
    assert set(decision.category_scores.values()) <= {0.0, 0.5, 0.9}
    assert {report.score for report in decision.gates} <= {0.0, 0.5, 0.9}
    assert decision.categories["crisis"]
    assert decision.categories["self-harm/intent"]
    assert decision.reasons == ["crisis.self-harm/intent"]


def test_no_other_gate_is_asked_after_the_crisis_gate_spoke(policy: Policy, help_texts: HelpTexts) -> None:
    from bowerbird.safety.pipeline import create_gates

    later = FixedGate([])
    decision = PromptPipeline(policy, help_texts, [create_gates(policy)[0], later]).check(PromptCheck(prompt=SECRET))
    assert decision.action is Action.CRISIS
    assert later.asked == 0
    assert [report.name for report in decision.gates] == ["normalise", "crisis"]


def test_log_of_a_crisis_has_id_action_and_reasons_only(check: Check, log: list[logging.LogRecord]) -> None:
    decision = check(SECRET)
    (record,) = log
    told = {key: value for key, value in vars(record).items() if key not in vars(logging.makeLogRecord({}))}
    assert told.keys() <= {"decision", "action", "reasons", "latency_ms", "message", "asctime"}
    assert told["decision"] == decision.id
    assert "raven" not in str(vars(record))


@pytest.mark.parametrize(
    ("locale", "contact"),
    [
        ("en-US", "988"),
        ("en-GB", "116 123"),
        ("en-IE", "116 123"),
        ("de", "0800 111 0 111"),
        ("de-AT", "0800 111 0 111"),
        ("fr_FR", "3114"),
        ("es-MX", "024"),
        ("en", "988"),
        ("xx-Unknown", "116 123"),
        ("", "988"),
    ],
)
def test_help_is_that_of_the_locale_and_always_has_a_directory(check: Check, locale: str, contact: str) -> None:
    decision = check("i want to die", locale=locale)
    assert contact in {resource.contact for resource in decision.resources}
    assert decision.resources[-1].contact == "https://findahelpline.com"
    assert decision.help_text


def test_help_follows_in_the_language_of_the_prompt(check: Check) -> None:
    decision = check("ich will nicht mehr leben", locale="en-US")
    assert "988" in str(decision.help_text)
    assert "TelefonSeelsorge" in str(decision.help_text)
    assert {"988", "0800 111 0 111"} <= {resource.contact for resource in decision.resources}


def test_help_texts_say_that_nobody_has_reviewed_them_yet(help_texts: HelpTexts) -> None:
    assert help_texts.reviewed_by is None
    assert {"en", "de", "fr", "es"} <= help_texts.languages.keys()


def test_the_next_harmless_prompt_is_not_punished(check: Check) -> None:
    check("i want to die")
    assert check("a robin in spring").action is Action.ALLOW
