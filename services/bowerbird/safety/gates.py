"""What a gate of the prompt's way is, and which kinds there are.

A gate reads the texts and reports findings; it decides nothing. What follows from a finding stands in the policy
(thresholds by category), and `pipeline.py` takes the strongest. A learned classifier is one more `Gate`: a class with
`name`, `detector` and `check`, a line in `KINDS`, and an entry in `policy.yaml`.

A gate that cannot decide raises, whatever the exception: the pipeline turns that into 503, never into "allowed".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bowerbird.safety.normalise import Normalised
from bowerbird.safety.policy import GateEntry, Policy

TextName = Literal["prompt", "negative_prompt"]


@dataclass(frozen=True, slots=True)
class Texts:
    """What one check is about."""

    prompt: Normalised
    negative_prompt: Normalised | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate saw `entity` of `category` at typed characters `start` to `end` (exclusive) of one of the texts."""

    category: str
    score: float
    start: int
    end: int
    entity: str
    text: TextName = "prompt"
    language: str | None = None


class Gate(Protocol):
    """One check; stateless after construction, so that any thread may call it."""

    @property
    def name(self) -> str:
        """As in the policy; stands in the decision and labels the metric."""

    @property
    def detector(self) -> str:
        """Name and version or digest of what decides; stands in the decision."""

    def check(self, texts: Texts) -> Sequence[Finding]:
        """What was found, in any order; scores are 0 to 1 and mean what the policy's thresholds mean."""


def _lexicon(entry: GateEntry, policy: Policy) -> Gate:
    from bowerbird.safety.lexicon import LexiconGate
    from bowerbird.safety.vocabulary import load_lexicon

    return LexiconGate(entry.name, load_lexicon(entry, policy), reads_negative=entry.negative_prompt)


def _personal_data(entry: GateEntry, _: Policy) -> Gate:
    from bowerbird.safety.personal_data import PersonalDataGate

    return PersonalDataGate(entry.name)


KINDS: Mapping[str, Callable[[GateEntry, Policy], Gate]] = {
    "lexicon": _lexicon,
    "personal_data": _personal_data,
}
"""`kind` in the policy -> how such a gate is made."""
