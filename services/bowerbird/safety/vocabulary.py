"""Lexicon files: what stands in them, and how they become something that can be searched fast.

`lexicon.py` reads the compiled form: one RE2 expression for each entry. RE2 (`google-re2`) because its time grows
linearly with the prompt whatever the expression and whatever the input; backtracking expressions over text from
strangers are a way to stop a service, and a gate that is stopped answers 503 to everybody.

 The files are data to be read and edited by people: entries by category with a
score, and rules about the words around a hit that tell use from mention. `vocabulary.yaml` holds what all lexicons
share: lists of words (`@people`, `@birds`, …) and protected phrases ("great tit", "shooting star") inside which nothing
is ever found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Self

import re2
from pydantic import Field, model_validator

from bowerbird.errors import PolicyInvalid
from bowerbird.safety.gates import TextName
from bowerbird.safety.normalise import plain_text
from bowerbird.safety.policy import Closed, GateEntry, Policy, parse, parse_yaml

MAX_EXPANSION = 5_000
# Memory RE2 may use for one expression's automaton; the largest here needs about 3 MiB, the rest is cache.
MAX_EXPRESSION_BYTES = 32 * 1024 * 1024
# The class of no character at all.
NEVER = r"[^\x{0}-\x{10FFFF}]"

Lists = Mapping[str, tuple[str, ...]]


class Around(Closed):
    """Some of these words stand within so many words of the hit; without a number, anywhere in the text."""

    words: tuple[str, ...]
    within: int | None = Field(default=None, ge=1)


class Entry(Closed):
    """Terms (exact words) or patterns (regular expressions over the plain view) that mean the same.

    Terms are written as people write and pass through the same normalisation as prompts; patterns are written in plain
    form (lower case, no accents, no punctuation).
    """

    category: str
    score: float = Field(gt=0, le=1)
    terms: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    near: Around | None = None
    unless_near: Around | None = None
    near_in_prompt: Around | None = Field(default=None, description="for hits in the negative prompt")
    text: TextName = "prompt"
    negatable: bool = Field(default=True, description='whether "no" before it takes its meaning away')
    language: str | None = None

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if not self.terms and not self.patterns:
            raise ValueError("an entry needs terms or patterns")
        return self


class LexiconFile(Closed):
    """One lexicon as it is written."""

    version: str
    lists: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    protected: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = Field(min_length=1)


class VocabularyFile(Closed):
    """What all lexicons share."""

    version: str
    lists: dict[str, tuple[str, ...]]
    protected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """`Around`, ready to be looked up: single words apart from phrases."""

    words: frozenset[str]
    phrases: tuple[str, ...]
    within: int | None

    @classmethod
    def of(cls, around: Around | None, lists: Lists) -> Context | None:
        """None stays None."""
        if around is None:
            return None
        every = set(expand(around.words, lists))
        return cls(
            words=frozenset(each for each in every if " " not in each),
            phrases=tuple(sorted(f" {each} " for each in every if " " in each)),
            within=around.within,
        )

    def met(self, words: list[str]) -> bool:
        """Whether one of the words or phrases is among `words`."""
        if not self.words.isdisjoint(words):
            return True
        if not self.phrases:
            return False
        text = f" {' '.join(words)} "
        return any(each in text for each in self.phrases)


class Expression:
    """Whole words and patterns of words, searched for together in plain text."""

    def __init__(self, branches: Iterable[str]) -> None:
        options = re2.Options()
        options.max_mem = MAX_EXPRESSION_BYTES
        # A compile error has to reach the operator, not the log.
        options.log_errors = False
        self._compiled = re2.compile(f" (?:{_alternation(branches) or NEVER}) ", options=options)

    def found_in(self, text: str) -> bool:
        """Whether there is any hit."""
        return self._compiled.search(_padded(text)) is not None

    def hits(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end (exclusive) in `text` of every whole-word match that does not overlap an earlier one."""
        padded = _padded(text)
        match = self._compiled.search(padded, 0)
        while match is not None:
            yield match.start(), match.end() - 2
            # The closing space may open the next match.
            match = self._compiled.search(padded, match.end() - 1)


def _padded(text: str) -> str:
    """Between spaces, since whole words are searched for, and in ASCII.

    Lexicons are ASCII once they are plain; what is not cannot match, and RE2 is spared the counting of UTF-8.
    """
    return f" {text} ".encode("ascii", "replace").decode("ascii")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry, compiled."""

    entry: Entry
    expression: Expression
    near: Context | None
    unless_near: Context | None
    near_in_prompt: Context | None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One compiled lexicon; `detector` names it in decisions."""

    detector: str
    rules: tuple[Rule, ...]
    anything: Expression
    """Every rule's words and patterns in one: most texts have none of them, and this tells it in one search."""
    protected: Expression
    negations: frozenset[str]


def load_lexicon(entry: GateEntry, policy: Policy) -> Lexicon:
    """The lexicon that a gate of `policy` names; raises PolicyInvalid naming file and key."""
    if entry.file is None:
        raise PolicyInvalid(f"gates.{entry.name}: file is missing.")
    path, shared_path = Path(entry.file.path), Path(policy.vocabulary.path)
    file = parse(LexiconFile, parse_yaml(policy.read(entry.file), path.name), path)
    shared = parse(VocabularyFile, parse_yaml(policy.read(policy.vocabulary), shared_path.name), shared_path)
    for each in file.entries:
        if each.category not in policy.categories:
            raise PolicyInvalid(f"{path.name}: entries.category: {each.category} is not in the policy.")
    return compile_lexicon(file, shared.lists, shared.protected, f"{path.stem}@{file.version}")


def compile_lexicon(file: LexiconFile, shared: Lists, protected: tuple[str, ...], detector: str) -> Lexicon:
    """A lexicon with the lists and protected phrases that all share; raises PolicyInvalid when it does not compile."""
    lists = {**shared, **file.lists}
    try:
        return Lexicon(
            detector=detector,
            rules=tuple(_rule(each, lists) for each in file.entries),
            anything=Expression(branch for each in file.entries for branch in _sought(each, lists)),
            protected=Expression(expand((*protected, *file.protected), lists)),
            negations=frozenset(expand(file.negations, lists)),
        )
    except (KeyError, ValueError, re2.error) as error:
        raise PolicyInvalid(f"{detector}: {error}.") from error


def expand(phrases: Iterable[str], lists: Lists) -> Iterator[str]:
    """Each phrase in plain form; "baby @animals" becomes one phrase for each animal.

    Raises KeyError for an unknown list and ValueError where a phrase has nothing to search for.
    """
    for phrase in phrases:
        slots = [expand(lists[word[1:]], lists) if word.startswith("@") else (word,) for word in phrase.split()]
        for number, words in enumerate(product(*slots)):
            if number >= MAX_EXPANSION:
                raise ValueError(f"{phrase!r} stands for more than {MAX_EXPANSION} phrases")
            yield plain(" ".join(words))


@cache
def plain(phrase: str) -> str:
    """A phrase of a data file as gates see prompts; kept, since all lexicons expand the same lists."""
    text = plain_text(phrase)
    if not text:
        raise ValueError(f"{phrase!r} has no letters")
    return text


def _rule(entry: Entry, lists: Lists) -> Rule:
    return Rule(
        entry=entry,
        expression=Expression(_sought(entry, lists)),
        near=Context.of(entry.near, lists),
        unless_near=Context.of(entry.unless_near, lists),
        near_in_prompt=Context.of(entry.near_in_prompt, lists),
    )


def _sought(entry: Entry, lists: Lists) -> Iterator[str]:
    """What an entry looks for, as expressions."""
    yield from expand(entry.terms, lists)
    yield from _branches(entry.patterns, lists)


def _branches(patterns: tuple[str, ...], lists: Lists) -> Iterator[str]:
    """Patterns with `@name` replaced by any entry of that list."""

    def alternatives(match: re.Match[str]) -> str:
        return f"(?:{_alternation(expand(lists[match[1]], lists))})"

    for each in patterns:
        yield re.sub(r"@([a-z_]+)", alternatives, each)


def _alternation(branches: Iterable[str]) -> str:
    """Longest first: of "big" and "big tits" the longer is found."""
    return "|".join(sorted(set(branches), key=lambda branch: (-len(branch), branch)))
