"""The species check: the packaged list with its judge on drawn birds, and the judge of colours through the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from bowerbird.contracts import FileVersion, Judgement, JudgeRequest, OutputFormat, PublishRequest, SpeciesOrigin
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.encoder import open_judge
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.provenance import check
from bowerbird.curation.publishing import Publisher
from bowerbird.curation.species_check import SpeciesJudge, read_species
from bowerbird.curation.view import View
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.errors import SpeciesListInvalid
from bowerbird.settings import PACKAGED_MODELS
from bowerbird.training.drawing import draw
from bowerbird.training.scene import POSES, SEASONS, SPECIES, Scene
from tests.unit.curation.streams import Pixels, judged, tinted

DIGEST = "sha256:" + "ab" * 32
Make = Callable[..., PublishRequest]
RED, BLUE = "Avis rubra", "Avis caerulea"


@pytest.fixture(scope="module")
def fledglings() -> SpeciesJudge:
    """The judge that comes with Bowerbird, asked for every species of its list."""
    return SpeciesJudge(open_judge(PACKAGED_MODELS / "fledgling-judge", CpuBackend(threads=1)), read_species())


def test_the_packaged_list_names_every_bird_that_fledgling_was_taught() -> None:
    called = {each.called.split(" ", 1)[1] for each in read_species().species}
    assert called == set(SPECIES)


def test_drawn_birds_are_told_apart_in_every_pose(fledglings: SpeciesJudge) -> None:
    right = {}
    for place, species in enumerate(fledglings.known.species):
        bird = species.called.split(" ", 1)[1]
        for number, pose in enumerate(POSES):
            view = View(draw(Scene(bird, pose, SEASONS[(place + number) % 4])))
            right[bird, pose] = fledglings.check(view, species.scientific[0])
    missed = [scene for scene, check in right.items() if check.verdict != "confirmed"]
    assert len(missed) <= len(right) // 20, missed
    assert np.median([check.probability or 0 for check in right.values()]) > 0.75


def test_another_bird_is_contradicted_and_named(fledglings: SpeciesJudge) -> None:
    found = fledglings.check(View(draw(Scene("snowy owl", "flying", "winter"))), "Cardinalis cardinalis")
    assert (found.verdict, found.most_like, found.compared) == ("contradicted", "Snowy owl", 12)
    assert found.probability is not None
    assert found.probability < 0.1


def test_what_the_judge_never_learned_is_not_known(fledglings: SpeciesJudge) -> None:
    view = View(draw(Scene("american robin", "perched", "summer")))
    found = fledglings.check(view, "Turdus merula")
    assert (found.verdict, found.probability, found.most_like) == ("not_known", None, None)
    assert fledglings.measure("Turdus merula") is None


def test_a_subspecies_counts_as_its_species(fledglings: SpeciesJudge) -> None:
    view = View(draw(Scene("blue jay", "perched", "summer")))
    assert fledglings.check(view, "Cyanocitta cristata bromia").verdict == "confirmed"


def test_probabilities_are_of_one_of_the_list(species: SpeciesJudge) -> None:
    for colour in ((255, 0, 0), (90, 90, 90), (0, 0, 0), (20, 200, 90)):
        probabilities = species.probabilities(View(np.full((16, 16, 3), colour, np.uint8)))
        assert probabilities.shape == (3,)
        assert probabilities.sum() == pytest.approx(1)


async def chosen(client: httpx.AsyncClient, birds: list[Pixels], asked: str | None) -> Judgement:
    """A blue and a red bird, judged as candidates of one picture."""
    request = JudgeRequest(prompt="red blue", images=1, candidates=2, species=asked)
    return await judged(client, request, tinted(birds[0], 2), tinted(birds[0], 0))


@pytest.mark.parametrize(("asked", "first"), [(BLUE, 0), (RED, 1)])
async def test_of_two_candidates_the_one_that_shows_the_species_is_chosen(
    client: httpx.AsyncClient, birds: list[Pixels], asked: str, first: int
) -> None:
    judgement = await chosen(client, birds, asked)

    assert judgement.rankings[0].order == [first, 1 - first]
    shown, other = judgement.frames[first], judgement.frames[1 - first]
    assert shown.species is not None
    assert other.species is not None
    assert (shown.species.verdict, other.species.verdict) == ("confirmed", "contradicted")
    assert (shown.rejected, other.rejected) == ([], ["another_species"])
    scores = {each.name: each.value for each in shown.scores}
    assert scores["species_match"] == pytest.approx(shown.species.probability)


async def test_where_no_species_is_asked_for_nothing_is_said_of_one(
    client: httpx.AsyncClient, birds: list[Pixels]
) -> None:
    for each in (await chosen(client, birds, None)).frames:
        assert each.species is None
        assert "species_match" not in {score.name for score in each.scores}


async def test_an_unlisted_species_weighs_nothing(client: httpx.AsyncClient, birds: list[Pixels]) -> None:
    asked, unasked = await chosen(client, birds, "Avis alba"), await chosen(client, birds, None)
    assert [each.total for each in asked.frames] == [each.total for each in unasked.frames]
    assert {each.species.verdict for each in asked.frames if each.species} == {"not_known"}


async def test_curation_says_which_list_it_goes_by(client: httpx.AsyncClient, species: SpeciesJudge) -> None:
    assert (await client.get("/describe")).json()["species"] == species.known.reference


def test_a_list_that_the_judge_cannot_read_is_said_to_be_one(prompt_match: PromptMatch) -> None:
    with pytest.raises(SpeciesListInvalid, match=r"colours@.*cannot read.*BOWERBIRD_JUDGE_SPECIES"):
        SpeciesJudge(prompt_match, read_species())


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("version = 1", "sentences"),
        ("version = 1\nsentences = ['a bird']\nspecies = []", "sentences.0"),
        ("version = 1\nsentences = ['{bird}']\n[[species]]\nname='A'\nscientific=['a b']\ncalled='a'", "scientific"),
        ("version = ", "cannot be read"),
    ],
)
def test_a_list_that_says_nothing_is_named(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "species.toml"
    path.write_text(text)
    with pytest.raises(SpeciesListInvalid, match=fact):
        read_species(path)


LABELLED = SpeciesOrigin(
    template=FileVersion(version=3, digest=DIGEST),
    families=FileVersion(version=2, digest=DIGEST),
    family="Turdidae",
    lora="family-turdidae",
)


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_template_family_and_lora_stand_in_the_label_and_are_read_from_it(
    credentials: Credentials, birds: list[Pixels], publish_request: Make, output_format: OutputFormat
) -> None:
    asked = publish_request(output_format)
    origin = asked.origin.model_copy(update={"species": LABELLED, "loras": {"family-turdidae": DIGEST}})
    _, file = Publisher(credentials).publish(0, birds[0], asked.model_copy(update={"origin": origin}))
    report = check(file, credentials)

    assert (report.species, report.loras) == (LABELLED, {"family-turdidae": DIGEST})


def test_what_a_strangers_label_says_of_a_species_is_not_repeated(
    stranger: Credentials, credentials: Credentials, birds: list[Pixels], publish_request: Make
) -> None:
    asked = publish_request(OutputFormat.PNG)
    origin = asked.origin.model_copy(update={"species": LABELLED, "loras": {"family-turdidae": DIGEST}})
    _, file = Publisher(stranger).publish(0, birds[0], asked.model_copy(update={"origin": origin}))
    report = check(file, credentials)

    assert (report.verdict, report.species, report.loras) == ("other_ai_declared", None, {})
