"""Lexicons: whole words, context, negation, protected phrases, and expressions that cannot be used as a weapon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.contracts import PromptCheck
from bowerbird.errors import PolicyInvalid
from bowerbird.safety.gates import Texts
from bowerbird.safety.lexicon import LexiconGate
from bowerbird.safety.normalise import normalise
from bowerbird.safety.pipeline import PromptPipeline
from bowerbird.safety.policy import PACKAGED, Policy, parse
from bowerbird.safety.vocabulary import Context, Expression, LexiconFile, compile_lexicon, expand, load_lexicon

from .conftest import Check, corpus


def gate(*entries: dict[str, Any], reads_negative: bool = False, **parts: Any) -> LexiconGate:
    fields = {"version": "1", "entries": [{"category": "hate", "score": 0.9} | each for each in entries]} | parts
    lexicon = compile_lexicon(parse(LexiconFile, fields, Path("x.yaml")), {"birds": ("robin", "blue jay")}, (), "x@1")
    return LexiconGate("x", lexicon, reads_negative=reads_negative)


def found(gate: LexiconGate, prompt: str, negative_prompt: str | None = None) -> list[str]:
    negative = None if negative_prompt is None else normalise(negative_prompt)
    findings = gate.check(Texts(normalise(prompt), negative))
    return [(prompt if each.text == "prompt" else str(negative_prompt))[each.start : each.end] for each in findings]


def test_terms_are_whole_words_in_any_punctuation() -> None:
    foul = gate({"terms": ["foul play"]})
    assert found(foul, "a FOUL,  play!") == ["FOUL,  play"]
    assert found(foul, "afoul play, foul players") == []


def test_what_is_passed_over_in_one_search_is_what_no_entry_finds(policy: Policy) -> None:
    lexicons = [load_lexicon(entry, policy) for entry in policy.gates if entry.kind == "lexicon"]
    texts = [view.text for entry in corpus() for view in normalise(entry["prompt"]).views]
    for lexicon in lexicons:
        for text in texts:
            found = any(list(rule.expression.hits(text)) for rule in lexicon.rules)
            assert lexicon.anything.found_in(text) == found


def test_adjacent_hits_are_all_found() -> None:
    assert found(gate({"terms": ["foul"]}), "foul foul foul") == ["foul"] * 3


def test_spans_of_a_disguised_word_are_the_typed_characters() -> None:
    foul = gate({"terms": ["foul"]})
    assert found(foul, "a f.o.u.l one") == ["f.o.u.l"]
    assert found(foul, "a f\u200boul one") == ["f\u200boul"]
    assert found(foul, "a f0ul one") == ["f0ul"]


def test_protected_phrase_hides_only_itself() -> None:
    foul = gate({"terms": ["foul", "foul play"]}, protected=["foul play of light"])
    assert found(foul, "the foul play of light") == []
    assert found(foul, "a foul, the foul play of light") == ["foul"]


def test_negated_term_does_not_count_unless_the_entry_says_so() -> None:
    words: dict[str, Any] = {"negations": ["no", "ohne"]}
    assert found(gate({"terms": ["foul"]}, **words), "no foul") == []
    assert found(gate({"terms": ["foul"]}, **words), "no mud or foul") == []
    assert found(gate({"terms": ["foul"]}, **words), "no mud, foul") == ["foul"]
    assert found(gate({"terms": ["foul"], "negatable": False}, **words), "ohne foul") == ["foul"]


def test_context_near_and_not_near() -> None:
    near = gate({"terms": ["foul"], "near": {"words": ["@birds"], "within": 2}})
    assert found(near, "foul big robin") == ["foul"]
    assert found(near, "foul very big robin") == []
    assert found(near, "blue jay, foul") == ["foul"]
    unless = gate({"terms": ["foul"], "unless_near": {"words": ["@birds"], "within": 2}})
    assert found(unless, "foul big robin") == []
    assert found(unless, "foul very big robin") == ["foul"]


def test_protected_words_are_no_context_for_others() -> None:
    near = gate({"terms": ["foul"], "near": {"words": ["robin"]}}, protected=["robin hood"])
    assert found(near, "foul robin hood") == []
    assert found(near, "foul robin") == ["foul"]


def test_negative_prompt_is_read_only_where_asked() -> None:
    assert found(gate({"terms": ["foul"]}), "a robin", "foul") == []
    assert found(gate({"terms": ["foul"]}, reads_negative=True), "a robin", "foul") == ["foul"]


def test_rule_for_the_negative_prompt_beside_words_of_the_prompt() -> None:
    rule = gate({"terms": ["clothes"], "text": "negative_prompt", "near_in_prompt": {"words": ["child"]}})
    assert found(rule, "a child", "clothes") == ["clothes"]
    assert found(rule, "a robin", "clothes") == []
    assert found(rule, "a child in clothes") == []


def test_longest_term_wins() -> None:
    assert found(gate({"terms": ["foul", "foul play"]}), "foul play") == ["foul play"]


def test_lists_expand_inside_terms_and_patterns() -> None:
    assert sorted(expand(["foul @birds"], {"birds": ("robin", "blue jay")})) == ["foul blue jay", "foul robin"]
    assert found(gate({"patterns": ["foul (?:big )?@birds"]}), "foul big blue jay") == ["foul big blue jay"]


def test_context_without_phrases_looks_at_words_only() -> None:
    context = Context.of(None, {})
    assert context is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"terms": ["foul"], "colour": "red"}, "entries.0.colour"),
        ({}, "terms or patterns"),
        ({"terms": ["@nobody"]}, "nobody"),
        ({"terms": ["!!"]}, "no letters"),
        ({"patterns": ["(foul"]}, "missing"),
        ({"terms": ["foul"], "score": 2}, "score"),
    ],
)
def test_broken_lexicon_is_refused_with_the_key(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(PolicyInvalid, match=told):
        gate(fields)


def test_list_that_explodes_is_refused() -> None:
    many = tuple(f"w{number}" for number in range(100))
    with pytest.raises(ValueError, match="more than"):
        list(expand(["@many @many @many"], {"many": many}))


def test_expression_of_nothing_finds_nothing() -> None:
    assert list(Expression([]).hits("never")) == []


def test_hostile_repetition_costs_no_more_than_its_length(check: Check) -> None:
    """Backtracking would need minutes here; no time is asserted, the suite's timeout is."""
    for unit in ("i want to ", "kill a ", "a a ", "my friend wants to ", "how to make a ", "1 ", "a@", "4111 ", "x.y"):
        check((unit * 2_000)[:2_000])


@settings(max_examples=60)
@given(st.text(max_size=200), st.text(max_size=60))
def test_no_text_makes_a_gate_raise(pipeline: PromptPipeline, prompt: str, negative_prompt: str) -> None:
    decision = pipeline.check(PromptCheck(prompt=prompt or "x", negative_prompt=negative_prompt))
    assert all(0 <= span.start < span.end <= len(prompt) for span in decision.spans)


def test_every_packaged_lexicon_is_pinned_by_the_policy() -> None:
    from bowerbird.safety.policy import load_policy

    policy = load_policy()
    pinned = {policy.vocabulary.path, *(gate.file.path for gate in policy.gates if gate.file)}
    assert pinned == {f"lexicons/{path.name}" for path in (PACKAGED / "lexicons").glob("*.yaml")}
