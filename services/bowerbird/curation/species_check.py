"""The species check: does a picture show the species that was asked for, rather than another one that the judge knows?

Called by `judging` where a request names a species. It is a zero-shot classifier (Radford et al., "Learning
transferable visual models from natural language supervision", 2021, section 3.1): the picture against every species of
a list, each in several sentences, because a bird that flies is nearer to a sentence about flying, whatever bird it is.
With even odds for every species and sentence, and cosines that are normal with one width for texts that belong to a
picture and for those that name another species (the judge's own calibration says how), Bayes' rule gives

    p(species) = sum over sentences of exp(slope * cosine), divided by the same sum over all species
    slope      = (mean of matching - mean of wrong species) / pooled deviation^2

What is not on the list is `not_known`: a judge that never learned a name has nothing to say about it.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bowerbird.contracts import ScientificName, SpeciesCheck
from bowerbird.curation.measures import Measure
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.view import View
from bowerbird.errors import PromptTooLong, SpeciesListInvalid

PACKAGED = Path(__file__).with_name("species.toml")
SCORE = "species_match"
ANOTHER_SPECIES = "another_species"
"""The hard fact that another species of the list is more probable."""

Probabilities = NDArray[np.float64]


class KnownSpecies(BaseModel):
    """What the judge can tell from the others; species that look alike to it are one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    scientific: tuple[ScientificName, ...] = Field(min_length=1)
    called: str = Field(min_length=1, max_length=80)


class SpeciesList(BaseModel):
    """One version of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1)
    sentences: tuple[Annotated[str, Field(pattern=r"\{bird\}")], ...] = Field(min_length=1)
    species: tuple[KnownSpecies, ...] = Field(min_length=2)
    digest: str
    """sha256:… of the file's bytes."""

    @property
    def reference(self) -> str:
        """version@digest."""
        return f"{self.version}@{self.digest}"

    def place(self, scientific_name: ScientificName) -> int | None:
        """Which of them it is, a subspecies counting as its species; None where it is not listed."""
        species = " ".join(scientific_name.split(" ")[:2])
        places = (place for place, each in enumerate(self.species) if species in each.scientific)
        return next(places, None)


def read_species(file: Path | None = None) -> SpeciesList:
    """The list of a file, or the packaged one; raises SpeciesListInvalid."""
    path = file or PACKAGED
    try:
        raw = path.read_bytes()
        return SpeciesList(**tomllib.loads(raw.decode("utf-8")), digest=f"sha256:{hashlib.sha256(raw).hexdigest()}")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise SpeciesListInvalid(f"{path} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise SpeciesListInvalid(f"{path}: {where}: {first['msg']}.") from error


class SpeciesJudge:
    """A judge that was asked for every species of a list beforehand; used by several threads at once."""

    def __init__(self, judge: PromptMatch, known: SpeciesList) -> None:
        """Embeds every sentence; raises SpeciesListInvalid for one that the judge cannot read whole."""
        self.known = known
        self._judge = judge
        self._slope = judge.species_calibration.slope
        try:
            self._texts = np.stack([judge.embed_texts(self._sentences(each)) for each in known.species])
            """float32 `[species, sentences, d]`, of length one."""
        except PromptTooLong as error:
            raise SpeciesListInvalid(
                f"{judge.name} cannot read every sentence of the list of species {known.reference}: {error.message} "
                "BOWERBIRD_JUDGE_SPECIES names another list."
            ) from error

    def _sentences(self, species: KnownSpecies) -> Sequence[str]:
        return [sentence.replace("{bird}", species.called) for sentence in self.known.sentences]

    def probabilities(self, view: View) -> Probabilities:
        """Of each species of the list, float64 `[species]`; they add up to 1."""
        evidence = self._slope * (self._texts @ self._judge.embed_picture(view)).astype(np.float64)
        likelihoods = np.exp(evidence - evidence.max()).sum(axis=1)
        return np.asarray(likelihoods / likelihoods.sum())

    def check(self, view: View, scientific_name: ScientificName) -> SpeciesCheck:
        """Whether a frame shows this species."""
        version, compared = self.known.reference, len(self.known.species)
        place = self.known.place(scientific_name)
        if place is None:
            return SpeciesCheck(version=version, verdict="not_known", compared=compared)
        probabilities = self.probabilities(view)
        first = int(probabilities.argmax())
        return SpeciesCheck(
            version=version,
            verdict="confirmed" if first == place else "contradicted",
            probability=float(probabilities[place]),
            most_like=self.known.species[first].name,
            compared=compared,
        )

    def measure(self, scientific_name: ScientificName) -> Measure | None:
        """The probability as a measure that candidates are weighed by; None for a species that is not listed."""
        place = self.known.place(scientific_name)
        if place is None:
            return None

        def of(view: View) -> float:
            return float(self.probabilities(view)[place])

        version = str(self.known.version)
        return Measure(SCORE, version, "higher_is_better", 0.0, 1.0, of=of, weight=0.5, noise=0.05)
