"""The personal data gate: what identifies or reaches a person is found and replaced before anything goes on.

Candidates are found by pattern and then have to pass their check: Luhn and issuer for cards, mod 97 for IBANs, check
letters for Spanish and French numbers, base58/bech32 checksums for wallets, all by `validators`; numbering plans by
`phonenumbers`; addresses by `ipaddress`. Microsoft's presidio does the same and more countries, but importing it brings
spaCy (2.3 s and 68 MB beside BentoML's own, measured), it skips a recogniser whose pattern times out (fails open), and
it logs what it could not validate.

What it cannot see: names, street addresses, faces, and national numbers of countries that are not listed here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

import phonenumbers
import validators

from bowerbird.safety.gates import Finding, TextName, Texts
from bowerbird.safety.normalise import View

CATEGORY = "pii"
# Numbers without a country code are read by these plans, and only when grouped as there is usual or announced.
PHONE_REGIONS = ("US", "GB", "DE", "FR", "ES")
PHONE_ANNOUNCED = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|cell|whatsapp|text|ring|dial|number|contact|sms|"
    r"handy|telefon|nummer|anruf\w*|ruf|appel\w*|telephone|portable|numero|llama\w*|telefono|movil)\b[^\d+]{0,24}$",
    re.IGNORECASE,
)
# Seven to fifteen digits (E.164) with at most three signs between two of them, in as many groups as a plan has.
PHONE_CANDIDATE = re.compile(r"(?<![\w.+])(?:\+|\()?\d(?:[ ().\-/]{0,3}\d){6,14}(?![\w])")
MOST_PHONE_GROUPS = 6
SHORTEST_IBAN = 15
# Words that may hang on behind a number: the shortest IBAN has room for four more groups of four.
MOST_TRIMS = 4

CARD_ISSUERS: tuple[Callable[[str], object], ...] = (
    validators.visa,
    validators.mastercard,
    validators.amex,
    validators.unionpay,
    validators.diners,
    validators.jcb,
    validators.discover,
)

Spans = Iterator[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One entity: where it may be, and whether it is."""

    entity: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]
    score: float

    def find(self, text: str) -> Spans:
        """Spans of `text` that pass the check; of a candidate that is too long, its longest valid beginning."""
        for match in self.pattern.finditer(text):
            for end in _ends(match):
                if self.valid(text[match.start() : end]):
                    yield match.start(), end
                    break


def _ends(match: re.Match[str]) -> Iterator[int]:
    """The end of the match, then of each shorter beginning that stops before a space: "…0005 1332 bird"."""
    yield match.end()
    spaces = [match.start() + each.start() for each in re.finditer(r"\s", match[0])]
    yield from reversed(spaces[-MOST_TRIMS:])


def _card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return validators.card_number(digits) is True and any(issuer(digits) is True for issuer in CARD_ISSUERS)


def _iban(text: str) -> bool:
    characters = re.sub(r"[ -]", "", text)
    return len(characters) >= SHORTEST_IBAN and validators.iban(characters) is True


def _email(text: str) -> bool:
    return validators.email(text) is True


def _spelled_email(text: str) -> bool:
    address = re.sub(r"\W*\b(?:at|arroba)\b\W*", "@", text, count=1, flags=re.IGNORECASE)
    return _email(re.sub(r"\W*\b(?:dot|punkt|point|punto)\b\W*", ".", address, flags=re.IGNORECASE))


def _ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _french_number(text: str) -> bool:
    digits = re.sub(r"\s", "", text)
    groups = (slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 7), slice(7, 10), slice(10, 13), slice(13, 15))
    return validators.fr_ssn(" ".join(digits[group] for group in groups)) is True


def _spanish_number(text: str) -> bool:
    number = text.replace("-", "").upper()
    return validators.es_nif(number) is True or validators.es_nie(number) is True


def _always(_: str) -> bool:
    return True


def _recogniser(entity: str, pattern: str, valid: Callable[[str], bool], score: float = 1.0) -> Recogniser:
    return Recogniser(entity, re.compile(pattern, re.IGNORECASE), valid, score)


# In order of precedence: a later one never claims what an earlier one found.
RECOGNISERS = (
    _recogniser("EMAIL_ADDRESS", r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,24}", _email),
    _recogniser(
        "EMAIL_ADDRESS",
        r"\b[\w.+%-]{1,64}(?: ?[(\[{<] ?at ?[)\]}>] ?| at | arroba )[\w-]{1,63}"
        r"(?:(?: ?[(\[{<] ?dot ?[)\]}>] ?| dot | punkt | point | punto )[\w-]{2,24}){1,3}\b",
        _spelled_email,
        0.9,
    ),
    _recogniser("IBAN_CODE", r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", _iban),
    _recogniser("CREDIT_CARD", r"(?<![\d.])[2-6](?:[ -]?\d){12,18}(?![\d.]*\d)", _card),
    _recogniser(
        "FR_SSN", r"(?<!\d)[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d(?!\d)", _french_number
    ),
    _recogniser("US_SSN", r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", _always, 0.9),
    _recogniser(
        "UK_NINO", r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?(?:\d\d ?){3}[A-D]\b", _always, 0.9
    ),
    _recogniser("ES_NIF", r"\b(?:\d{8}|[XYZ]\d{7})-?[A-Z]\b", _spanish_number),
    _recogniser("IP_ADDRESS", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", _ip, 0.9),
    _recogniser("IP_ADDRESS", r"(?<![\w:])(?:[0-9a-f]{1,4}:{1,2}){2,7}[0-9a-f]{1,4}(?![\w:])", _ip, 0.9),
    _recogniser("MAC_ADDRESS", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", _always, 0.9),
    _recogniser(
        "CRYPTO",
        r"\b(?:bc1[a-z0-9]{25,59}|[13][1-9A-HJ-NP-Za-km-z]{25,34})\b",
        lambda text: validators.btc_address(text) is True,
    ),
)


class PersonalDataGate:
    """Finds personal data in both texts; stateless, so any thread may call it."""

    detector = f"validators@{version('validators')}+phonenumbers@{version('phonenumbers')}"

    def __init__(self, name: str = "personal_data") -> None:
        self.name = name

    def check(self, texts: Texts) -> list[Finding]:
        """Findings that do not overlap, in the order of the text."""
        findings = _findings(texts.prompt.literal, "prompt")
        if texts.negative_prompt is not None:
            findings += _findings(texts.negative_prompt.literal, "negative_prompt")
        return findings


def _findings(view: View, name: TextName) -> list[Finding]:
    taken: list[tuple[int, int]] = []
    findings = []
    for entity, score, (start, end) in _candidates(view.text):
        if all(end <= s or e <= start for s, e in taken):
            taken.append((start, end))
            findings.append(Finding(CATEGORY, score, *view.span(start, end), entity, name))
    return sorted(findings, key=lambda finding: finding.start)


def _candidates(text: str) -> Iterator[tuple[str, float, tuple[int, int]]]:
    for recogniser in RECOGNISERS:
        for span in recogniser.find(text):
            yield recogniser.entity, recogniser.score, span
    for span in _phones(text):
        yield "PHONE_NUMBER", 0.9, span


def _phones(text: str) -> Spans:
    for match in PHONE_CANDIDATE.finditer(text):
        if _is_phone(match[0], announced=_announced(text, match.start())):
            yield match.span()


def _is_phone(text: str, *, announced: bool) -> bool:
    """With a country code a valid number suffices; without, it has to be announced or grouped as numbers are there."""
    if text.startswith(("+", "00")):
        return _numbered(text if text[0] == "+" else f"+{text[2:]}", None) is not None
    groups = re.findall(r"\d+", text)
    if not announced and not 1 < len(groups) <= MOST_PHONE_GROUPS:
        return False
    numbers = (_numbered(text, region) for region in PHONE_REGIONS)
    return any(number is not None and (announced or _grouping(number) == groups) for number in numbers)


def _numbered(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _grouping(number: phonenumbers.PhoneNumber) -> list[str]:
    """The groups of digits in which the number is written where it belongs."""
    return re.findall(r"\d+", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))


def _announced(text: str, start: int) -> bool:
    """Whether words before `start` say that a number follows: a bare "4155552671" may as well be a seed."""
    return PHONE_ANNOUNCED.search(text[max(0, start - 40) : start]) is not None
