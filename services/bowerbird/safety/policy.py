"""The policy: which gates run in which order, what they look for, and what follows from what they find.

`service.py` loads it once, at start. It is one readable file (`policy.yaml`, or `BOWERBIRD_SAFETY_POLICY`) and it pins
by sha256 every other file that a decision depends on (lexicons, help texts, the image model), so that the digest of the
policy's bytes names all of it: the same digest and the same prompt give the same decision. A file that is altered,
missing, or says something nobody reads stops the service at start (`PolicyInvalid` names the key): a policy that is
half understood would be a decision nobody made. `python -m bowerbird.safety.pin` renews the pins after an edit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bowerbird.contracts import OPENAI_CATEGORIES, Action, Digest, HelpResource, PolicyReference
from bowerbird.errors import PolicyInvalid

# The C parser where PyYAML was built with it: start-up reads 100 kB of YAML.
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

PACKAGED = Path(__file__).parent
PACKAGED_POLICY = PACKAGED / "policy.yaml"
FLASHING = "flashing"
"""The category of light that can start a seizure (`flashes`); its score is a share of the picture."""


def _rising(thresholds: dict[Action, float]) -> dict[Action, float]:
    """The weaker action has the lower threshold, else it could never be taken."""
    by_strength = [thresholds[action] for action in sorted(thresholds, key=lambda action: action.strength)]
    if by_strength != sorted(by_strength):
        raise ValueError("a stronger action needs a threshold at least as high as a weaker one")
    return thresholds


Probability = Annotated[float, Field(gt=0, le=1)]
Thresholds = Annotated[dict[Action, Probability], AfterValidator(_rising)]


class Closed(BaseModel):
    """A part of a data file of ours: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Part = TypeVar("Part", bound=Closed)


class Scored(Protocol):
    """What the policy needs to know of a finding."""

    @property
    def category(self) -> str:
        """A key of the policy's categories."""

    @property
    def score(self) -> float:
        """0 to 1."""


class PinnedFile(Closed):
    """A file that decisions depend on; looked up beside the policy, then in the package."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Category(Closed):
    """From which score on which action follows; an absent input type means this category never acts there."""

    description: str
    text: Thresholds = Field(default_factory=dict)
    image: Thresholds = Field(default_factory=dict)


class GateEntry(Closed):
    """One gate of the prompt's way, in the order of the file."""

    name: str = Field(pattern=r"^[a-z_]+$")
    kind: str
    file: PinnedFile | None = None
    negative_prompt: bool = Field(default=False, description="whether the negative prompt is read as well")


class ImageModel(Closed):
    """The graph that scores pixels: which file of which installed distribution."""

    distribution: str
    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ImageFacts(Closed):
    """Bounds of the facts that need no model; luma and deviation in 8-bit steps, the rest as shares."""

    blank_deviation: float = Field(gt=0, le=255)
    dark_luma: float = Field(gt=0, le=255)
    saturated_share: Probability
    repeated_share: Probability


class ImageEntry(Closed):
    """What is checked on every frame."""

    model: ImageModel
    facts: ImageFacts


class Policy(Closed):
    """The whole file; `reference` carries its digest."""

    id: str
    version: str
    help: PinnedFile
    vocabulary: PinnedFile
    gates: tuple[GateEntry, ...] = Field(min_length=1)
    categories: dict[str, Category]
    images: ImageEntry
    folder: Path = Field(exclude=True)
    digest: Digest

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = {*OPENAI_CATEGORIES, FLASHING} - self.categories.keys()
        if missing:
            raise ValueError(f"categories: {sorted(missing)} are missing (OpenAI's moderation has them, or a gate)")
        names = [gate.name for gate in self.gates]
        if len(set(names)) != len(names):
            raise ValueError("gates: every gate needs a name of its own")
        if names[0] != "crisis":
            raise ValueError("gates: crisis must come first")
        return self

    @property
    def reference(self) -> PolicyReference:
        """How decisions name this policy."""
        return PolicyReference(id=self.id, version=self.version, digest=self.digest)

    def action(self, category: str, score: float, stage: Literal["text", "image"]) -> Action:
        """The strongest action whose threshold `score` reaches."""
        thresholds: dict[Action, float] = getattr(self.categories[category], stage)
        reached = [action for action, threshold in thresholds.items() if score >= threshold]
        return max(reached, key=lambda action: action.strength, default=Action.ALLOW)

    def text_action(self, finding: Scored) -> Action:
        """What a finding in a text leads to."""
        return self.action(finding.category, finding.score, "text")

    def threshold(self, category: str, stage: Literal["text", "image"]) -> float:
        """The lowest score that has any consequence; 1 where none has."""
        thresholds: dict[Action, float] = getattr(self.categories[category], stage)
        return min(thresholds.values(), default=1.0)

    def read(self, pinned: PinnedFile) -> bytes:
        """The bytes of a pinned file; raises PolicyInvalid naming file and both digests when they differ."""
        path = self.folder / pinned.path
        raw = (path if path.exists() else PACKAGED / pinned.path).read_bytes()
        found = hashlib.sha256(raw).hexdigest()
        if found != pinned.sha256:
            raise PolicyInvalid(f"{pinned.path}: the policy pins sha256 {pinned.sha256}, the file has {found}.")
        return raw


class HelpText(Closed):
    """What a person in danger reads, in one language."""

    text: str
    resources: tuple[HelpResource, ...]


class HelpTexts(Closed):
    """The reviewed help texts by BCP 47 tag; `en` is always there."""

    reviewed_by: str | None
    review_due: str
    languages: dict[str, HelpText]
    everywhere: tuple[HelpResource, ...]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "en" not in self.languages:
            raise ValueError("languages: en is missing, which every other locale falls back to")
        return self

    def for_locale(self, locale: str) -> HelpText:
        """The closest text: the whole tag, then its language, then English."""
        tag = locale.replace("_", "-").lower()
        by_tag = {each.lower(): text for each, text in self.languages.items()}
        while tag and tag not in by_tag:
            tag = tag.rpartition("-")[0]
        return by_tag[tag or "en"]


def load_policy(path: Path = PACKAGED_POLICY) -> Policy:
    """The policy at `path`; raises PolicyInvalid naming the key that is wrong."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(f"The safety policy {path} cannot be read.") from error
    fields = parse_yaml(raw, path.name)
    return parse(Policy, fields | {"folder": path.parent, "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}"}, path)


def load_help_texts(policy: Policy) -> HelpTexts:
    """The help texts that `policy` pins; raises PolicyInvalid."""
    return parse(HelpTexts, parse_yaml(policy.read(policy.help), policy.help.path), Path(policy.help.path))


def parse_yaml(raw: bytes, name: str) -> dict[str, Any]:
    """A YAML mapping; raises PolicyInvalid naming the file and the line."""
    try:
        fields = yaml.load(raw, Loader=SAFE_LOADER)  # noqa: S506 - either loader is the safe one
    except yaml.YAMLError as error:
        raise PolicyInvalid(f"{name} is not YAML: {error}.") from error
    if not isinstance(fields, dict):
        raise PolicyInvalid(f"{name} must be a mapping.")
    return fields


def parse(kind: type[Part], fields: dict[str, Any], path: Path) -> Part:
    """`fields` as `kind`; raises PolicyInvalid naming the file, the key and what is wrong with it."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"]) or "the file"
        raise PolicyInvalid(f"{path.name}: {key}: {first['msg']}.") from error
