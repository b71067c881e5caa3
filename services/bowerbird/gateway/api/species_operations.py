"""The routes of species."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.contracts import MAX_SPECIES_ID_CHARACTERS
from bowerbird.gateway.api import image_drawing, species
from bowerbird.gateway.api.job_body import JobBody
from bowerbird.gateway.api.operation import ENDED_JOB, KEYED, Operation
from bowerbird.gateway.api.species_request import SpeciesClip, SpeciesImage
from bowerbird.gateway.api.video_operations import ACCEPTS as ACCEPTS_CLIPS
from bowerbird.gateway.identity.scopes import Scope

SPECIES = {
    "species": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_SPECIES_ID_CHARACTERS,
        "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        "description": "What you call the species. Never change it: the pictures' seeds are made of it.",
        "examples": ["american-robin"],
    }
}
EXAMPLE = {"common_name": "American robin", "scientific_name": "Turdus migratorius", "pose": "perched"}


def species_operations(draws: tuple[type[errors.BowerbirdError], ...], cached: dict[str, str]) -> tuple[Operation, ...]:
    """Errors that any drawing may meet, and headers of pictures that may be stored ones, are those of the table."""
    return (
        Operation(
            "POST",
            "/v1/species/{species}/images",
            species.draw_species_image,
            "Draw a picture of a species",
            image_drawing.ImagesResponse,
            facts=(*draws, errors.LoraUnknown, errors.LoraInvalid, *KEYED, *ENDED_JOB, errors.FeatureUnavailable),
            accepted=JobBody,
            body=SpeciesImage,
            not_modified="The picture is the one that If-None-Match names.",
            nothing_left="The picture is stored, and not sent: Prefer said return=minimal.",
            answer_headers={
                **cached,
                species.CHECK_HEADER: "confirmed, contradicted or not_known: what curation says of the species",
            },
            example={**EXAMPLE, "season": "winter"},
            path_schema=SPECIES,
            scope=Scope.IMAGES_WRITE,
        ),
        Operation(
            "POST",
            "/v1/species/{species}/clips",
            species.draw_species_clip,
            "Draw a clip of a species, as a job (see /v1/videos)",
            JobBody,
            facts=ACCEPTS_CLIPS,
            accepted=JobBody,
            body=SpeciesClip,
            example={**EXAMPLE, "behaviour": "resting", "seconds": 3},
            path_schema=SPECIES,
            scope=Scope.IMAGES_WRITE,
        ),
    )
