"""`/v1/species/{species}/images`: a picture of a bird by its names, pose and season; the gateway writes the prompt."""

from __future__ import annotations

from typing import Literal, TypedDict

from bowerbird.client.calls import Call, keyed, step
from bowerbird.client.pictures import Drawing, drawings


class SpeciesOptions(TypedDict, total=False):
    """What may be said beside the names; the gateway names a word that it does not know, and those that it does."""

    pose: str
    season: str
    behaviour: str
    """What it does, which says its pose as well."""
    resolution: Literal["thumbnail", "standard", "large"]
    variation: int
    """Another number, another picture of the same."""
    quality: str
    """A name for steps and candidates together."""
    candidates: int
    """Drawn; the best is kept, which is first of all one that shows this species."""
    output_format: Literal["png", "webp", "jpeg"]
    output_compression: int
    """Quality of webp and jpeg, 0 to 100."""
    safety_identifier: str


def draw_species(
    species: str, common_name: str, scientific_name: str, options: SpeciesOptions | None = None
) -> Call[list[Drawing]]:
    """`POST /v1/species/{species}/images`: one picture, the same for the same request; a stored one where there is."""
    body = {"common_name": common_name, "scientific_name": scientific_name, **(options or {})}
    return keyed(Call("POST", f"/v1/species/{step(species)}/images", drawings, json=body))
