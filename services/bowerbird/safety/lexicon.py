"""The lexicon gate: words and patterns of one subject, told from mere mention by the words around them.

The prompt pipeline runs one for each subject (crisis, sexual, hate, …). Each entry of a lexicon is one RE2 expression
over whole words (`vocabulary.py`), so that time grows with the prompt and cannot blow up on hostile input.

A hit counts unless it lies in a protected phrase, is negated ("no blood"), or the words around it say otherwise. What
patterns cannot tell (irony, euphemism, meaning across sentences) this gate does not see; learned gates come beside it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from bowerbird.safety.gates import Finding, TextName, Texts
from bowerbird.safety.normalise import Normalised, View
from bowerbird.safety.vocabulary import Lexicon, Rule

CONJUNCTIONS = frozenset({"or", "nor", "oder", "ni", "ou"})

Spans = list[tuple[int, int]]


class _Words:
    """The words of one view, and which of them lie in protected phrases."""

    def __init__(self, view: View, protected: Spans) -> None:
        self.protected = protected
        self.all = view.text.split(" ")
        self.starts = [0]
        for word in self.all[:-1]:
            self.starts.append(self.starts[-1] + len(word) + 1)
        self.free = list(self.all)
        for start, end in protected:
            for number in range(*self.numbers(start, end)):
                self.free[number] = ""

    def numbers(self, start: int, end: int) -> tuple[int, int]:
        """First word and first word after of the characters `start` to `end`."""
        return bisect_right(self.starts, start) - 1, bisect_left(self.starts, end)

    def around(self, words: list[str], start: int, end: int, within: int | None) -> list[str]:
        """Those of `words` that stand near the characters `start` to `end`, the hit itself included."""
        if within is None:
            return words
        first, last = self.numbers(start, end)
        return words[max(0, first - within) : last + within]


class LexiconGate:
    """A compiled lexicon as a gate."""

    def __init__(self, name: str, lexicon: Lexicon, *, reads_negative: bool = False) -> None:
        self.name = name
        self.detector = lexicon.detector
        self._lexicon = lexicon
        self._reads_negative = reads_negative

    def check(self, texts: Texts) -> list[Finding]:
        """One finding for each place and category, the highest score first."""
        findings = list(self._scan(texts, "prompt"))
        if texts.negative_prompt is not None:
            findings += self._scan(texts, "negative_prompt")
        best: dict[tuple[str, str, int, int], Finding] = {}
        for each in sorted(findings, key=lambda finding: finding.score):
            best[each.category, each.text, each.start, each.end] = each
        return sorted(best.values(), key=lambda finding: (-finding.score, finding.start, finding.category))

    def _scan(self, texts: Texts, name: TextName) -> Iterator[Finding]:
        text: Normalised = getattr(texts, name)
        hits = [(number, hit) for number, view in enumerate(text.views) for hit in self._hits(view, name)]
        if not hits:
            return
        words = [self._words(view) for view in text.views]
        typed = [view.span(*span) for view, each in zip(text.views, words, strict=True) for span in each.protected]
        for number, (rule, start, end) in hits:
            span = text.views[number].span(start, end)
            if any(_belongs_to(span, phrase) for phrase in typed):
                continue
            if self._counts(rule, words[number], start, end) and self._together(rule, texts):
                entry = rule.entry
                yield Finding(entry.category, entry.score, *span, entry.category, name, entry.language)

    def _hits(self, view: View, name: TextName) -> Iterator[tuple[Rule, int, int]]:
        """Every place where an entry's words stand, before anything around them is looked at."""
        if not self._lexicon.anything.found_in(view.text):
            return
        for rule in self._lexicon.rules:
            if rule.entry.text == name or (name == "negative_prompt" and self._reads_negative):
                for start, end in rule.expression.hits(view.text):
                    yield rule, start, end

    def _counts(self, rule: Rule, words: _Words, start: int, end: int) -> bool:
        if rule.entry.negatable and self._negated(words, words.numbers(start, end)[0]):
            return False
        near, unless = rule.near, rule.unless_near
        if near is not None and not near.met(words.around(words.free, start, end, near.within)):
            return False
        return unless is None or not unless.met(words.around(words.all, start, end, unless.within))

    def _negated(self, words: _Words, first: int) -> bool:
        """Whether "no …" or "no … or …" stands before word `first`."""
        before = words.all[max(0, first - 3) : first]
        if not before:
            return False
        if before[-1] in self._lexicon.negations:
            return True
        return before[-1] in CONJUNCTIONS and before[0] in self._lexicon.negations

    def _together(self, rule: Rule, texts: Texts) -> bool:
        """For a hit in the negative prompt that only matters beside certain words of the prompt."""
        if rule.near_in_prompt is None:
            return True
        return any(rule.near_in_prompt.met(self._words(view).free) for view in texts.prompt.views)

    def _words(self, view: View) -> _Words:
        return _Words(view, list(self._lexicon.protected.hits(view.text)))


def _belongs_to(hit: tuple[int, int], phrase: tuple[int, int]) -> bool:
    """Whether a hit is part of a protected phrase or runs into one ("i want to die" of "die laughing")."""
    overlaps = hit[0] < phrase[1] and phrase[0] < hit[1]
    contains = hit[0] <= phrase[0] and phrase[1] <= hit[1] and hit != phrase
    return overlaps and not contains
