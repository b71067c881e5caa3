"""One request to judge clips: looks at each when its frames are there, and chooses when all clips are.

Called by `service`; `look_at` runs in a thread. What pictures are judged by is looked at in eight frames of a clip,
evenly spread (`LOOKED_AT`): a value is their mean, and a hard fact of any of them is one of the clip. What only clips
have (`measures`) is measured over all of them. A clip that does not move is rejected, since by every other score it
would win; unless the prompt asks for just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bowerbird.contracts import ClipJudgement, ClipScores, JudgeClips, Score
from bowerbird.curation.clips import measures as clip
from bowerbird.curation.measures import MEASURES, Measure, Scale, hard_facts
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.ranking import TIE_MARGIN, Candidate, Standing, rank, totals
from bowerbird.curation.view import View
from bowerbird.frames import Frames

LOOKED_AT = 8


@dataclass(frozen=True, slots=True)
class ClipLook:
    """What was seen of one clip: a value on each scale, and hard facts."""

    index: int
    values: tuple[float, ...]
    rejected: list[str]


class ClipJudging:
    """Judges the clips of one request against its prompt; used by one thread at a time."""

    def __init__(self, prompt_match: PromptMatch, wanted: JudgeClips) -> None:
        self._judge = prompt_match
        self._wanted = wanted
        self._is_to_move = not clip.asks_for_no_motion(wanted.prompt)
        self._of_pictures: tuple[Measure, ...] = (prompt_match.measure(wanted.prompt), *MEASURES)
        seam = (clip.SEAM,) if wanted.loop else ()
        self._scales: tuple[Scale, ...] = (
            *self._of_pictures,
            clip.FLICKERING,
            clip.SMOOTHNESS,
            clip.DYNAMIC,
            clip.SUBJECT,
            *seam,
        )

    def look_at(self, index: int, frames: Frames) -> ClipLook:
        """Everything that can be said of clip `index`, uint8 `[frames, height, width, 3]`, without the others."""
        picked = np.unique(np.linspace(0, len(frames) - 1, LOOKED_AT).round().astype(int))
        views = [View(frames[each]) for each in picked]
        each_view = [{measure.name: measure.of(view) for measure in self._of_pictures} for view in views]
        of_pictures = [float(np.mean([values[m.name] for values in each_view])) for m in self._of_pictures]
        motion = clip.motion(frames, self._wanted.frames_per_second)
        of_clip = [
            clip.temporal_flickering(frames),
            motion.smoothness,
            motion.dynamic_degree,
            clip.subject_consistency([self._judge.embed_picture(view) for view in views]),
            *([clip.loop_seam(frames)] if self._wanted.loop else []),
        ]
        facts = {fact for values in each_view for fact in hard_facts(self._of_pictures, values)}
        if self._is_to_move:
            facts |= set(hard_facts([clip.DYNAMIC], {clip.DYNAMIC.name: motion.dynamic_degree}))
        return ClipLook(index, (*of_pictures, *of_clip), ["blank"] if "blank" in facts else sorted(facts))

    def scores(self, look: ClipLook) -> list[Score]:
        """The look's values as they cross the process border."""
        return [scale.score(value) for scale, value in zip(self._scales, look.values, strict=True)]

    def conclude(self, looks: Sequence[ClipLook]) -> ClipJudgement:
        """Scores of all clips, in their order, and which is the best."""
        candidates = [
            Candidate(look.index, look.values, Standing.REJECTED if look.rejected else Standing.CLEAN) for look in looks
        ]
        clips = [
            ClipScores(index=look.index, scores=self.scores(look), rejected=look.rejected, total=total)
            for look, total in zip(looks, totals(candidates, self._scales), strict=True)
        ]
        ranking = rank(0, candidates, self._scales)
        return ClipJudgement(clips=clips, ranking=ranking, tie_margin=TIE_MARGIN, judge=self._judge.name)
