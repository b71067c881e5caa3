"""What is chosen for the caller: family and LoRA by genus, size by class of resolution, seed by what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import (
    FileVersion,
    LoraCatalogue,
    LoraFacts,
    LoraUse,
    ModelDescription,
    PromptCheck,
    Size,
    SpeciesOrigin,
    SpeciesSubject,
)
from bowerbird.errors import SizeUnsupported
from bowerbird.gateway.jobs.request import job_request, read_job_request
from bowerbird.gateway.plan import plan_images
from bowerbird.gateway.species.families import read_families
from bowerbird.gateway.species.images import SpeciesImages, family_lora, seed_of_species
from bowerbird.gateway.species.resolution import Resolution, size_of
from bowerbird.gateway.species.words import Circumstances, Pose, Season, every_circumstance
from bowerbird.gateway.story import Allowed

from ..stand_ins import DIGEST, LORA, MODEL, decision

FAMILIES = read_families(None)
WANTED = LoraUse(id="family-corvidae", weight=0.8)


@pytest.mark.parametrize(
    ("scientific", "family"),
    [
        ("Turdus migratorius", "Turdidae"),
        ("Cyanocitta cristata bromia", "Corvidae"),
        ("Spinus tristis", "Fringillidae"),
        ("Bubo scandiacus", "Strigidae"),
        ("Anas platyrhynchos", "Anatidae"),
        ("Fratercula arctica", None),
    ],
)
def test_the_genus_says_the_family(scientific: str, family: str | None) -> None:
    assert FAMILIES.of(scientific)[0] == family


def test_there_are_five_families_to_start_each_with_a_lora_of_its_own() -> None:
    ids = [family.lora.id for family in FAMILIES.families.values() if family.lora]
    assert len(FAMILIES.families) == len(set(ids)) == 5


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("version = 1\n[Turdidae]\ngenera = ['turdus']", "Turdidae.genera.0"),
        ("version = 1\n[Turdidae]\ngenera = ['Turdus']\nlora = 'x'", "Turdidae.lora"),
        ("version = 1\n[Aaaa]\ngenera = ['Turdus']\n[Bbbb]\ngenera = ['Turdus']", "Turdus is listed more than once"),
        ("[Turdidae]\ngenera = ['Turdus']", "version"),
        ("version = 1\n[Turdidae]\ngenus = ['Turdus']", "Turdidae.gen"),
        ("version = ", "cannot be read"),
    ],
)
def test_a_table_that_says_nothing_is_named_before_anything_is_served(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "families.toml"
    path.write_text(text)
    with pytest.raises(SystemExit, match=f"BOWERBIRD_SPECIES_FAMILIES: .*{fact}"):
        read_families(path)


def test_a_lora_takes_part_only_where_it_is_served_and_it_is_said_why_it_does_not() -> None:
    served = LoraCatalogue(loras=[LORA, LoraFacts(id=WANTED.id, digest=LORA.digest, rank=4, bytes=1)])
    without = LoraCatalogue(loras=[LORA])
    takes_none = MODEL.model_copy(update={"max_lora_rank": 0})

    assert family_lora(WANTED, MODEL, served).use == WANTED
    assert family_lora(WANTED, MODEL, served).without is None
    assert family_lora(WANTED, MODEL, without).without == "lora_not_served"
    assert family_lora(WANTED, takes_none, None).without == "model_without_lora"
    assert family_lora(None, MODEL, served).without == "family_unlisted"


def model_of(*sizes: tuple[int, int]) -> ModelDescription:
    return MODEL.model_copy(update={"sizes": [Size(width=width, height=height) for width, height in sizes]})


def test_a_class_of_resolution_is_the_largest_of_the_models_sizes_in_it() -> None:
    model = model_of((512, 512), (768, 512), (512, 768), (256, 256), (1024, 1024))

    assert str(size_of(None, model)) == "512x512"
    assert str(size_of(Resolution.THUMBNAIL, model)) == "256x256"
    assert str(size_of(Resolution.STANDARD, model)) == "768x512"
    assert str(size_of(Resolution.LARGE, model)) == "1024x1024"


def test_a_class_that_the_model_does_not_draw_is_refused_and_the_others_are_named() -> None:
    with pytest.raises(SizeUnsupported, match="Accepted: 'thumbnail', 'standard', or no resolution for 256x256") as no:
        size_of(Resolution.LARGE, model_of((256, 256), (512, 512)))
    assert no.value.param == "resolution"


SAID = st.sampled_from(list(every_circumstance()))


@given(SAID, SAID, st.integers(0, 9_999), st.integers(0, 9_999))
def test_what_is_asked_for_is_the_seed_and_nothing_else_is(
    one: Circumstances, other: Circumstances, first: int, second: int
) -> None:
    seed = seed_of_species("american-robin", one, first)
    assert 0 <= seed < 2**48
    assert (seed == seed_of_species("american-robin", other, second)) == ((one, first) == (other, second))
    assert seed != seed_of_species("american-robins", one, first)


def test_a_seed_is_for_ever() -> None:
    """Written down: pictures that were evicted come back only while this holds."""
    assert seed_of_species("american-robin", Circumstances(Pose.PERCHED, Season.WINTER), 0) == 89_122_156_545_466


def test_what_a_job_remembers_of_a_species_is_drawn_as_it_was_accepted() -> None:
    version = FileVersion(version=1, digest=DIGEST)
    origin = SpeciesOrigin(template=version, families=version, without_lora="family_unlisted")
    subject = SpeciesSubject(scientific_name="Alca torda", origin=origin)
    asked = SpeciesImages(prompt="a razorbill", seed=5, species=subject, stated="as it was sent")
    plan = plan_images(asked, MODEL, 1 << 24)
    allowed = Allowed(decision(PromptCheck(prompt=plan.prompt)), plan.prompt, None)
    stored = read_job_request(job_request(asked, plan, allowed, "en"))

    assert isinstance(stored.asked, SpeciesImages)
    assert plan_images(stored.asked, MODEL, 1 << 24).species == plan.species == subject
