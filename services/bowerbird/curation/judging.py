"""One request to judge: looks at frames as they arrive, and chooses when all are there.

Called by `service`; `look_at` runs in threads (it is pure, nothing is shared but the encoder), `conclude` takes
microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bowerbird.contracts import FrameJudgement, Judgement, JudgeRequest, Score, SpeciesCheck
from bowerbird.curation.duplicates import Fingerprint, fingerprint, nearly_equal
from bowerbird.curation.measures import MEASURES, Measure, hard_facts
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.ranking import TIE_MARGIN, Candidate, Standing, rank, totals
from bowerbird.curation.species_check import ANOTHER_SPECIES, SpeciesJudge
from bowerbird.curation.view import View
from bowerbird.frames import Frames


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was seen in one frame: a value for each measure, hard facts, a fingerprint, whether it is the species."""

    index: int
    values: tuple[float, ...]
    rejected: list[str]
    fingerprint: Fingerprint
    species: SpeciesCheck | None = None


class Judging:
    """Judges the frames of one request against its prompt and, where it names one, its species."""

    def __init__(self, prompt_match: PromptMatch, wanted: JudgeRequest, species: SpeciesJudge) -> None:
        self._judge = prompt_match.name
        self._wanted = wanted
        self._species = species
        match = None if wanted.species is None else species.measure(wanted.species)
        shown = () if match is None else (match,)
        self._measures: tuple[Measure, ...] = (prompt_match.measure(wanted.prompt), *shown, *MEASURES)

    def look_at(self, index: int, frame: Frames) -> Look:
        """Everything that can be said of frame `index`, uint8 `[1, height, width, 3]`, without the others."""
        view = View(frame[0])
        values = tuple(measure.of(view) for measure in self._measures)
        by_name = {measure.name: value for measure, value in zip(self._measures, values, strict=True)}
        rejected = hard_facts(self._measures, by_name)
        check = None if self._wanted.species is None else self._species.check(view, self._wanted.species)
        if check is not None and check.verdict == "contradicted" and not rejected:
            rejected = [ANOTHER_SPECIES]
        return Look(index, values, rejected, fingerprint(view), check)

    def scores(self, look: Look) -> list[Score]:
        """The look's values as they cross the process border."""
        return [measure.score(value) for measure, value in zip(self._measures, look.values, strict=True)]

    def conclude(self, looks: Sequence[Look]) -> Judgement:
        """Scores of all frames (in their order) and a ranking for each image."""
        chosen: list[Fingerprint] = []
        frames, rankings = [], []
        for image in range(self._wanted.images):
            first = image * self._wanted.candidates
            of_image = looks[first : first + self._wanted.candidates]
            candidates = [Candidate(look.index, look.values, _standing(look, chosen)) for look in of_image]
            rankings.append(rank(image, candidates, self._measures))
            chosen.append(looks[rankings[-1].order[0]].fingerprint)
            frames += [
                self._judgement(look, total, looks)
                for look, total in zip(of_image, totals(candidates, self._measures), strict=True)
            ]
        return Judgement(frames=frames, rankings=rankings, tie_margin=TIE_MARGIN, judge=self._judge)

    def _judgement(self, look: Look, total: float, looks: Sequence[Look]) -> FrameJudgement:
        earlier = (other.index for other in looks[: look.index] if nearly_equal(look.fingerprint, other.fingerprint))
        return FrameJudgement(
            index=look.index,
            scores=self.scores(look),
            rejected=look.rejected,
            duplicate_of=next(earlier, None),
            total=total,
            species=look.species,
        )


def rehearse(prompt_match: PromptMatch, species: SpeciesJudge) -> None:
    """Judges one frame, so that what is loaded on first use (0.5 s of libraries) is there before the first request."""
    judging = Judging(prompt_match, JudgeRequest(prompt="a bird", images=1, candidates=1), species)
    judging.conclude([judging.look_at(0, np.zeros((1, 256, 256, 3), np.uint8))])


def _standing(look: Look, chosen: Sequence[Fingerprint]) -> Standing:
    if look.rejected:
        return Standing.REJECTED
    if any(nearly_equal(look.fingerprint, each) for each in chosen):
        return Standing.DUPLICATE
    return Standing.CLEAN
