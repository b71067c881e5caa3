"""Normalisation: one prompt as the gates read it, with a way back to the characters that were typed.

The prompt pipeline calls `normalise` once per text; every gate reads the result. Nothing here decides anything, and
what is drawn later is never the normalised text but the typed one: normalisation only removes the disguises (invisible
characters, look-alikes from other scripts, leetspeak, l e t t e r s p a c i n g) that would hide a word from a gate.

A `View` is a text in which every character knows the index of the typed character it came from (Python code points),
so that a finding in any view is a span of the original. Look-alikes are Unicode's own confusables (UTS #39), read from
the data of `confusable-homoglyphs`; compatibility forms come from NFKD (UAX #15). Folding of leetspeak and spacing is
ours: it makes *additional* views and never replaces the plain one, so it can find more but can hide nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

APOSTROPHES = frozenset("'`\u2019\u02bc\u2018\u00b4\uff07")
# Letters that draw nothing (Hangul fillers): category Lo, so the Cf rule below does not see them.
FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
LEET = {"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "+": "t", "€": "e"}
# One sign, two letters: tried both ways.
LEET_I_OR_L = frozenset("1!|")
LEET_READINGS = ("i", "l")
# "fuuuck" is read with one and with two of the repeated letter.
REPEAT_READINGS = (1, 2)
SHORTEST_LEET_WORD = 3

_LEET_SIGNS = frozenset(LEET) | LEET_I_OR_L
_EDGE_PUNCTUATION = " \t.,;:!?\"'()[]{}<>*_-~"
_WORD = re.compile(r"[^\W_]+")
_NO_SPACE = re.compile(r"\S+")
_LONG_RUN = re.compile(r"([^\W\d_])\1\1")
# What every disguise inside words needs; prose without any of it, which is most, has one reading only.
_DISGUISE = re.compile(
    r"[^\W_][^\w\s]+[^\W_]|[@$€|+_]|\d[^\W\d_]|[^\W\d_]\d|([^\W\d_])\1\1|(?<![^\W_])[^\W_]\W{1,3}[^\W_](?![^\W_])"
)
_SHORT_LEET = re.compile(r"[a-z][\d@$]|[@$\d][a-z]")
_QUANTITY = re.compile(r"[\d.,:/x%+-]+[a-z]{0,2}|[a-z]/?[\d.,]+")
_SPACED_LETTERS = re.compile(
    r"(?<![^\W_])[^\W_](?P<gap>[\s.,*_\-~/|+·]{1,3})[^\W_](?:(?P=gap)[^\W_])+(?![^\W_])", re.UNICODE
)
_LETTER_NAME = re.compile(
    r"(?:LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL )?|SYMBOL LETTER )([A-Z])(?: WITH .*)?$"
)


@dataclass(frozen=True, slots=True)
class View:
    """A text whose character k came from `origin[k]` of the typed text."""

    text: str
    origin: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The typed characters (end exclusive) behind `text[start:end]`, which must not be empty."""
        return self.origin[start], self.origin[end - 1] + 1


@dataclass(frozen=True, slots=True)
class Normalised:
    """One text in every reading that the gates use.

    `literal` keeps case and punctuation (personal data is written with them); `plain` is lower-case words with single
    spaces; `variants` are further readings of `plain` with leetspeak, spacing and repetition folded, often none.
    """

    original: str
    literal: View
    plain: View
    variants: tuple[View, ...]
    steps: tuple[str, ...]

    @property
    def views(self) -> tuple[View, ...]:
        """The plain reading first, then its variants."""
        return (self.plain, *self.variants)


def normalise(text: str) -> Normalised:
    """Every reading of `text`; total (any string of code points is accepted) and idempotent in `plain`.

    `steps` names what was found: `nfkc` (compatibility forms), `zero_width`, `confusables`, `marks` (stacked accents),
    `leetspeak`, `spacing`, `repetition`.
    """
    literal, folded = _literal(text), _folded(text)
    plain = _plain(folded)
    variants, folds = _variants(folded, plain)
    return Normalised(text, literal, plain, variants, (*_disguises(text), *folds))


def plain_text(text: str) -> str:
    """Only the plain reading: `normalise(text).plain.text`, for words and phrases of data files."""
    return _plain(_folded(text)).text


# ------------------------------------------------------------------------------------------- characters


@cache
def look_alikes() -> dict[str, str]:
    """Non-ASCII character -> the ASCII letter it is drawn like, from Unicode's confusables table."""
    from confusable_homoglyphs.confusables import confusables_data

    table: dict[str, str] = {}
    for character, alikes in confusables_data.items():
        letters = [each["c"] for each in alikes if len(each["c"]) == 1 and each["c"].isascii() and each["c"].isalpha()]
        if len(character) == 1 and not character.isascii() and letters:
            table[character] = letters[0].lower()
    return table


def invisible(character: str) -> bool:
    """True for what draws nothing and only splits words: format characters, fillers, variation selectors."""
    return character in FILLERS or unicodedata.category(character) == "Cf"


@lru_cache(maxsize=16_384)
def fold(character: str) -> str:
    """One typed character as lower-case base letters, marks removed; a fixed point: folding again changes nothing."""
    previous, current = "", character
    while current != previous:
        previous, current = current, "".join(map(_fold_once, current))
    return current


def _fold_once(character: str) -> str:
    if character.isascii():
        return character.lower()
    if character in APOSTROPHES:
        return "'"
    if invisible(character):
        return ""
    decomposed = unicodedata.normalize("NFKD", character)
    base = "".join(each for each in decomposed if unicodedata.category(each) not in {"Mn", "Me"}).casefold()
    return base if base.isascii() else _look_alike(character) or base


def _look_alike(character: str) -> str | None:
    """The ASCII letter that a foreign one is drawn like, small form first: capital Cyrillic I is an i, not an l."""
    alike = look_alikes().get(character.casefold()) or look_alikes().get(character)
    if alike is not None:
        return alike
    letter = _LETTER_NAME.search(unicodedata.name(character, ""))
    return None if letter is None else letter[1].lower()


# ------------------------------------------------------------------------------------------------ views


class _Writer:
    """Collects the characters of a view together with where they came from."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._origin: list[int] = []

    def write(self, text: str, origin: Iterable[int]) -> None:
        """Appends `text`; `origin` has one index for each of its characters."""
        self._texts.append(text)
        self._origin.extend(origin)

    def view(self) -> View:
        """What was written."""
        return View("".join(self._texts), tuple(self._origin))


def _mapped(text: str, change: Callable[[str], str]) -> View:
    writer = _Writer()
    for index, character in enumerate(text):
        output = change(character)
        writer.write(output, (index,) * len(output))
    return writer.view()


def _literal(text: str) -> View:
    """As typed, without invisible characters and with compatibility forms (full-width digits, say) resolved."""
    if text.isascii():
        return View(text, range(len(text)))
    return _mapped(text, _compatible)


@lru_cache(maxsize=16_384)
def _compatible(character: str) -> str:
    return "" if invisible(character) else unicodedata.normalize("NFKC", character)


def _folded(text: str) -> View:
    if text.isascii():
        return View(text.lower(), range(len(text)))
    return _mapped(text, fold)


def _plain(folded: View) -> View:
    """Words and single spaces: apostrophes vanish ("don't" is "dont"), all else that is no letter or digit parts."""
    writer = _Writer()
    for word in _WORD.finditer(folded.text):
        start, end = word.span()
        if start and _has_gap(folded.text, start):
            writer.write(" ", folded.origin[start - 1 : start])
        writer.write(word[0], folded.origin[start:end])
    view = writer.view()
    return View(view.text[1:], view.origin[1:]) if view.text.startswith(" ") else view


def _has_gap(text: str, start: int) -> bool:
    """Whether more than apostrophes stands before the word at `start`."""
    while start and text[start - 1] in APOSTROPHES:
        start -= 1
    return start == 0 or not text[start - 1].isalnum()


def _variants(folded: View, plain: View) -> tuple[tuple[View, ...], list[str]]:
    """Readings of the folded text with disguises inside words removed, and the names of the disguises met."""
    if _DISGUISE.search(folded.text) is None:
        return (), []
    tokens = _tokens(folded)
    repeated = any(each.repeats for each in tokens)
    ambiguous = any(each.leet and not LEET_I_OR_L.isdisjoint(each.text) for each in tokens)
    readings = product(LEET_READINGS[: 1 + ambiguous], REPEAT_READINGS[: 1 + repeated])
    views = {view.text: view for view in (_read(tokens, *reading) for reading in readings) if view.text}
    views.pop(plain.text, None)
    met = {
        "leetspeak": any(each.leet for each in tokens),
        "spacing": any(each.spaced for each in tokens),
        "repetition": repeated,
    }
    return tuple(views.values()), [name for name, seen in met.items() if seen]


@dataclass(frozen=True, slots=True)
class _Token:
    """A stretch of the folded text between spaces, or a run of spaced letters, which counts as one word.

    `leet`: signs stand among letters. `repeats`: a letter stands three times in a row.
    """

    text: str
    origin: Sequence[int]
    spaced: bool = False
    leet: bool = False
    repeats: bool = False

    @classmethod
    def of(cls, text: str, origin: Sequence[int], *, spaced: bool = False) -> _Token:
        """A token with its disguises looked at, which words of letters only cannot have but for repetition."""
        leet = not text.isalpha() and _is_leet(text)
        return cls(text, origin, spaced, leet, _LONG_RUN.search(text) is not None)


def _is_leet(text: str) -> bool:
    """Quantities ("50mm", "1980s", "f/2.8") are what they seem."""
    if len(text) < SHORTEST_LEET_WORD or _LEET_SIGNS.isdisjoint(text) or _QUANTITY.fullmatch(text):
        return False
    letters = sum(each.isalpha() for each in text)
    return letters > 1 or (letters == 1 and "$" in text)


def _tokens(folded: View) -> list[_Token]:
    """The words of the folded text without punctuation at their edges."""
    tokens: list[_Token] = []
    position = 0
    for run in _SPACED_LETTERS.finditer(folded.text):
        tokens += _split(folded, position, run.start())
        tokens.append(_Token.of(run[0], folded.origin[run.start() : run.end()], spaced=True))
        position = run.end()
    return [*tokens, *_split(folded, position, len(folded.text))]


def _split(folded: View, start: int, end: int) -> Iterator[_Token]:
    for match in _NO_SPACE.finditer(folded.text, start, end):
        left = match.start() + len(match[0]) - len(match[0].lstrip(_EDGE_PUNCTUATION))
        text = match[0].strip(_EDGE_PUNCTUATION)
        if text:
            yield _Token.of(text, folded.origin[left : left + len(text)])


def _read(tokens: list[_Token], one_as: str, repeats: int) -> View:
    """One reading: signs as letters, what stands between letters of a word left out, long runs shortened."""
    writer = _Writer()
    disguised = any(each.leet for each in tokens)
    for number, token in enumerate(tokens):
        if number:
            writer.write(" ", token.origin[:1])
        if token.text.isalpha() and not token.repeats:
            writer.write(token.text, token.origin)
        else:
            # "t0" alone may be a point in time; beside "k1ll" it is a word.
            leet = token.leet or (disguised and _SHORT_LEET.fullmatch(token.text) is not None)
            _read_disguised(token, leet, (one_as, repeats), writer)
    return writer.view()


def _read_disguised(token: _Token, leet: bool, reading: tuple[str, int], writer: _Writer) -> None:
    one_as, repeats = reading
    shorten = token.repeats
    run, last = 0, ""
    for character, index in zip(token.text, token.origin, strict=True):
        letter = _unleet(character, one_as) if leet else character
        if letter.isalnum():
            run = run + 1 if letter == last else 1
            last = letter
            if run <= repeats or not shorten:
                writer.write(letter, (index,))


def _unleet(character: str, one_as: str) -> str:
    return one_as if character in LEET_I_OR_L else LEET.get(character, character)


def _disguises(text: str) -> Iterator[str]:
    """Names of what was changed in single characters."""
    if text.isascii():
        return
    composed = unicodedata.normalize("NFC", text)
    if unicodedata.normalize("NFKC", text) != composed:
        yield "nfkc"
    if any(invisible(each) for each in text):
        yield "zero_width"
    if any(each in look_alikes() for each in text):
        yield "confusables"
    if any(unicodedata.category(each) in {"Mn", "Me"} for each in composed):
        yield "marks"
