"""Personal data: what passes its check digits is replaced exactly, what does not stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import MAX_PROMPT_CHARACTERS, Action
from bowerbird.safety.decision import redact
from bowerbird.safety.gates import Texts
from bowerbird.safety.normalise import normalise
from bowerbird.safety.personal_data import PersonalDataGate

from .conftest import Check

# Published specimen numbers: card schemes' test cards, the IBAN registry's examples.
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "3530111333300000")
IBANS = ("DE89370400440532013000", "GB29NWBK60161331926819", "NL91ABNA0417164300", "ES9121000418450200051332")


def redacted(text: str) -> str:
    return redact(text, PersonalDataGate().check(Texts(normalise(text))))


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("mail anna@example.org now", "mail <EMAIL_ADDRESS> now"),
        ("mail ANNA@EXAMPLE.ORG.", "mail <EMAIL_ADDRESS>."),
        ("ａｎｎａ＠example.org", "<EMAIL_ADDRESS>"),
        ("an\u200bna@exam\u200bple.org", "<EMAIL_ADDRESS>"),
        ("anna (at) example (dot) org", "<EMAIL_ADDRESS>"),
        ("call +49 30 901820!", "call <PHONE_NUMBER>!"),
        ("card 4111 1111 1111 1111 and", "card <CREDIT_CARD> and"),
        ("IBAN DE89 3704 0044 0532 0130 00 of", "IBAN <IBAN_CODE> of"),
        ("two: a@b.io, c@d.io", "two: <EMAIL_ADDRESS>, <EMAIL_ADDRESS>"),
        ("🐦 a@b.io 🐦", "🐦 <EMAIL_ADDRESS> 🐦"),
        ("from 10.1.2.3 to fe80::1ff:fe23:4567:890a", "from <IP_ADDRESS> to <IP_ADDRESS>"),
    ],
)
def test_exactly_the_personal_characters_are_replaced(typed: str, kept: str) -> None:
    assert redacted(typed) == kept


@pytest.mark.parametrize("number", CARDS)
def test_card_is_found_only_with_its_check_digit(number: str) -> None:
    assert redacted(number) == "<CREDIT_CARD>"
    for digit in "0123456789":
        if digit != number[-1]:
            assert "<CREDIT_CARD>" not in redacted(number[:-1] + digit)


@pytest.mark.parametrize("number", IBANS)
def test_iban_is_found_only_with_its_check_digits(number: str) -> None:
    assert redacted(f"pay {number} now") == "pay <IBAN_CODE> now"
    wrong = f"{number[:2]}{(int(number[2:4]) + 1) % 97:02}{number[4:]}"
    assert "<IBAN_CODE>" not in redacted(f"pay {wrong} now")


@pytest.mark.parametrize(
    "harmless",
    [
        "seed 4155552671",
        "1024x1024 16:9 ISO 100 1/2000 f/2.8",
        "in 1987-2024, at 3:30",
        "v1.2.3",
        "robin@home",
        "@robin",
    ],
)
def test_numbers_of_photography_and_handles_stay(harmless: str) -> None:
    assert redacted(harmless) == harmless


def test_national_number_counts_when_grouped_or_announced_but_not_bare() -> None:
    assert redacted("415-555-2671") == "<PHONE_NUMBER>"
    assert redacted("call me: 4155552671") == "call me: <PHONE_NUMBER>"
    assert redacted("4155552671 birds") == "4155552671 birds"


def test_redacted_text_has_nothing_left_to_redact(check: Check) -> None:
    first = check("robin for anna@example.org, +49 30 901820", "of bob@example.org")
    assert first.redacted_prompt == "robin for <EMAIL_ADDRESS>, <PHONE_NUMBER>"
    assert first.redacted_negative_prompt == "of <EMAIL_ADDRESS>"
    again = check(str(first.redacted_prompt), first.redacted_negative_prompt)
    assert again.action is Action.ALLOW
    assert again.redacted_prompt == first.redacted_prompt


def test_spans_are_of_the_prompt_only_and_in_its_characters(check: Check) -> None:
    prompt = "🐦 for anna@example.org"
    decision = check(prompt, "bob@example.org")
    assert [prompt[span.start : span.end] for span in decision.spans] == ["anna@example.org"]
    assert decision.reasons == ["pii.email_address"]


def test_prompt_that_redaction_makes_too_long_is_refused_and_not_cut(check: Check) -> None:
    addresses = " ".join(["a@b.io"] * (MAX_PROMPT_CHARACTERS // 7))
    decision = check(addresses)
    assert decision.action is Action.BLOCK
    assert "pii.too_much" in decision.reasons
    assert decision.redacted_prompt is None


@given(st.text(st.sampled_from("0123456789 -.:@+abcdefDE(),\u200b"), max_size=60))
def test_findings_never_overlap_and_lie_in_the_text(text: str) -> None:
    findings = PersonalDataGate().check(Texts(normalise(text)))
    for before, after in pairwise(findings):
        assert before.end <= after.start
    assert all(0 <= each.start < each.end <= len(text) for each in findings)
