"""What is said of a picture that was asked for as one of a species: by whom it goes, how it came to be, whether it is.

The gateway asks in these words, curation checks and labels in them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, LiteralString

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bowerbird.contracts.contract import Contract, Digest, LoraId

MAX_SPECIES_ID_CHARACTERS = 64
MAX_COMMON_NAME_CHARACTERS = 60
MAX_SCIENTIFIC_NAME_CHARACTERS = 80
NAME_RULE: LiteralString = (
    "Accepted: up to six words of letters, of 60 characters in all, with single spaces between them; apostrophes and "
    "hyphens within a word, a full stop at its end"
)
SCIENTIFIC_NAME_RULE: LiteralString = (
    "Accepted: genus and species, perhaps a subspecies, in letters a to z with a capital at the beginning only: "
    "'Turdus migratorius'"
)

SpeciesId = Annotated[
    str, Field(min_length=1, max_length=MAX_SPECIES_ID_CHARACTERS, pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
]
"""What an application calls a species; it never changes, and is no secret: labels and URLs hold it."""

_WORD = re.compile(r"['’‘ʻ]?[^\W\d_]+(?:['’‘ʻ-][^\W\d_]+)*['’.]?")
_BETWEEN_LETTERS = frozenset(" '’‘ʻ-.")
_MOST_WORDS = 6


def plain_name(name: str) -> str:
    """The name in Unicode's NFC; refuses it unless it is up to six words of letters and no more.

    A word may have apostrophes and hyphens between its letters, and a full stop at its end: "Steller's jay", "St. Lucia
    parrot", "ʻIʻiwi". What could be read as anything but a name (digits, brackets, commas, lines) is none.
    """
    name = unicodedata.normalize("NFC", name)
    words = name.split(" ")
    lettered = all(each.isalpha() or each in _BETWEEN_LETTERS for each in name)  # "¼" is a word to `re`, and no digit
    shaped = len(words) <= _MOST_WORDS and all(map(_WORD.fullmatch, words))
    if not lettered or not shaped or len(name) > MAX_COMMON_NAME_CHARACTERS:
        raise PydanticCustomError("no_plain_name", NAME_RULE)
    return name


CommonName = Annotated[str, Field(min_length=2, max_length=MAX_COMMON_NAME_CHARACTERS), AfterValidator(plain_name)]

ScientificName = Annotated[
    str,
    Field(
        max_length=MAX_SCIENTIFIC_NAME_CHARACTERS,
        pattern=r"^[A-Z][a-z]+ [a-z]+(-[a-z]+)?( [a-z]+(-[a-z]+)?)?$",
    ),
]
"""Genus and species, perhaps a subspecies, as the International Code of Zoological Nomenclature writes them: only the
genus has a capital, and there are no letters but a to z (articles 11.2, 27 and 28)."""


class FileVersion(Contract):
    """Which version of a file that people edit."""

    version: int = Field(ge=1)
    digest: Digest


WithoutLora = Literal["family_unlisted", "lora_not_served", "model_without_lora"]


class SpeciesOrigin(Contract):
    """How the picture of a species came to be; stands in its label.

    No name stands there, nor what the caller calls it: nobody has checked that.
    """

    template: FileVersion = Field(description="what the prompt was built from")
    families: FileVersion = Field(description="the table that chose the LoRA")
    family: str | None = Field(default=None, description="of the genus, by that table; None where it lists none")
    lora: LoraId | None = Field(default=None, description="the family's, where it took part")
    without_lora: WithoutLora | None = Field(default=None, description="why none did")


class SpeciesSubject(Contract):
    """What a request is about."""

    scientific_name: ScientificName
    origin: SpeciesOrigin


class SpeciesCheck(Contract):
    """Whether a frame shows the species that was asked for, rather than another one that the judge knows."""

    version: str = Field(description="of the list of species and of how they are told apart: version@digest")
    verdict: Literal["confirmed", "contradicted", "not_known"] = Field(
        description="not_known: the list has no such species, and nothing was compared"
    )
    probability: float | None = Field(
        default=None, ge=0, le=1, description="that it shows this species, if it shows one of the list"
    )
    most_like: str | None = Field(default=None, description="the most probable of the list, by its common name")
    compared: int = Field(ge=0, description="how many species the list has")
