"""`POST /v1/species/{species}/images` and `/clips`: what a bird application asks for.

Names and circumstances become a prompt, a LoRA, a size and a seed; from there on it is a request for a picture like any
other, at once, as a job or under a key. The same request is the same picture: a stored one answers, and one that was
evicted is drawn again from its seed. Who only wants it to be stored says `Prefer: return=minimal` (RFC 7240, section
4.2) and is not sent the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import (
    MAX_SPECIES_ID_CHARACTERS,
    ClipFormat,
    LoraUse,
    MotionDescription,
    SpeciesId,
    SpeciesOrigin,
    SpeciesSubject,
)
from bowerbird.errors import BowerbirdError, FeatureUnavailable, RecordsUnavailable, RequestInvalid
from bowerbird.gateway.api.accepting import Wanted, accept, acceptance_of, accepted_job, job_of
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import read_json
from bowerbird.gateway.api.clip_drawing import wanted_clip
from bowerbird.gateway.api.idempotency import read_key
from bowerbird.gateway.api.image_drawing import Drawing, draw_images, usage_of
from bowerbird.gateway.api.image_request import ImageFormat, NamedLora
from bowerbird.gateway.api.images import answered
from bowerbird.gateway.api.rate_limit import rate_limit
from bowerbird.gateway.api.species_request import SpeciesClip, SpeciesImage, SpeciesRequest
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.results.result import tag_is_known
from bowerbird.gateway.species.images import FamilyLora, SpeciesImages, family_lora, seed_of_species
from bowerbird.gateway.species.opening import SpeciesFiles
from bowerbird.gateway.species.resolution import size_of
from bowerbird.gateway.species.words import Circumstances, Names, circumstances

CHECK_HEADER = "Bowerbird-Species-Check"

_SPECIES_ID: TypeAdapter[str] = TypeAdapter(SpeciesId)
_STATED_AS = {"prompt": "common_name", "lora": "scientific_name", "size": "resolution", "n": "candidates"}
"""Fields of a request for a picture -> those of ours that they were made of."""


async def draw_species_image(request: Request) -> Response:
    """Draws what the body asks for, of the species that the path names."""
    gateway, call = arrive(request)
    species = _species_of(request)
    stated = await read_json(request, SpeciesImage)
    acceptance = acceptance_of(request)
    if _is_minimal(request) and not gateway.results.stores:
        raise FeatureUnavailable("Prefer: return=minimal is for pictures that are stored, and none are stored here.")
    with _in_our_fields():
        asked = await _asked(species, stated, call, gateway)
        if acceptance:
            return await accept(request, call, asked, acceptance)
        drawing = await unless_hung_up(request, draw_images(asked, call, gateway))
    minimal = _is_minimal(request)
    answer = await _answered_briefly(request, call, drawing) if minimal else answered(request, call, drawing)
    if (check := drawing.told.result.facts.chosen[0].judgement.species) is not None:
        answer.headers[CHECK_HEADER] = check.verdict
    return answer


async def draw_species_clip(request: Request) -> Response:
    """Accepts a clip of the species that the path names, as a job."""
    gateway, call = arrive(request)
    species = _species_of(request)
    stated = await read_json(request, SpeciesClip)
    key = read_key(request)
    as_stated = f"{species} {stated.model_dump_json()}".encode()
    with _in_our_fields():
        said, prompt = _prompt_of(stated, gateway)

        async def wanted() -> Wanted:
            model = await gateway.animators.model(call)
            return await wanted_clip(_clip_of(species, stated, (said, prompt), gateway, model), call, gateway)

        job_id = await job_of(request, call, key, as_stated, wanted)
    return await accepted_job(await gateway.records.jobs.get(request.state.tenant, job_id), call, gateway)


def _clip_of(
    species: SpeciesId,
    stated: SpeciesClip,
    said: tuple[Circumstances, str],
    gateway: Gateway,
    model: MotionDescription,
) -> ClipRequest:
    """The clip that it becomes: of the same seed as the picture of that variation."""
    family, wanted = gateway.species.families.of(stated.scientific_name)
    lora = family_lora(wanted, model, None)
    return ClipRequest(
        prompt=said[1],
        size=str(size_of(stated.resolution, model)),
        frames=stated.seconds * stated.fps,
        frames_per_second=stated.fps,
        format=ClipFormat(stated.format),
        seed=seed_of_species(species, said[0], stated.variation),
        safety_identifier=stated.safety_identifier,
        species=SpeciesSubject(scientific_name=stated.scientific_name, origin=_origin(gateway.species, family, lora)),
    )


def _origin(files: SpeciesFiles, family: str | None, lora: FamilyLora) -> SpeciesOrigin:
    """What a label says of how the species became a prompt."""
    return SpeciesOrigin(
        template=files.template.version,
        families=files.families.version,
        family=family,
        lora=lora.id,
        without_lora=lora.without,
    )


async def _asked(species: SpeciesId, stated: SpeciesImage, call: Call, gateway: Gateway) -> SpeciesImages:
    """The request for a picture that it becomes; raises RequestInvalid, or StageUnavailable where LoRAs are served."""
    said, prompt = _prompt_of(stated, gateway)
    model, files = await gateway.demand.waking.model(call), gateway.species
    family, wanted = files.families.of(stated.scientific_name)
    lora = await _served(wanted, call, gateway)
    origin = _origin(files, family, lora)
    return SpeciesImages(
        prompt=prompt,
        size=str(size_of(stated.resolution, model)),
        seed=seed_of_species(species, said, stated.variation),
        lora=() if lora.use is None else (NamedLora(id=lora.use.id, weight=lora.use.weight),),
        quality=stated.quality,
        candidates=stated.candidates,
        output_format=ImageFormat(stated.output_format),
        output_compression=stated.output_compression,
        safety_identifier=stated.safety_identifier,
        species=SpeciesSubject(scientific_name=stated.scientific_name, origin=origin),
        stated=f"{species} {stated.model_dump_json()}",
    )


async def _served(wanted: LoraUse | None, call: Call, gateway: Gateway) -> FamilyLora:
    """The family's LoRA, if it lies in the folder of the model now."""
    model = gateway.stages.model()
    if wanted is None or not model.max_lora_rank:
        return family_lora(wanted, model, None)
    async with call.within_deadline():
        return family_lora(wanted, model, await gateway.upstream.loras(call))


def _prompt_of(stated: SpeciesRequest, gateway: Gateway) -> tuple[Circumstances, str]:
    """What is asked for beside the names, and the prompt of it all."""
    said = circumstances(stated.pose, stated.season, stated.behaviour)
    family, _ = gateway.species.families.of(stated.scientific_name)
    return said, gateway.species.template.prompt(_names_of(stated), family, said)


def _names_of(stated: SpeciesRequest) -> Names:
    return Names(stated.common_name, stated.scientific_name)


def _species_of(request: Request) -> SpeciesId:
    try:
        return _SPECIES_ID.validate_python(request.path_params["species"])
    except ValidationError as error:
        raise RequestInvalid(
            "species: the path does not name one. Accepted: a to z, 0 to 9 and single hyphens between them, a letter "
            f"first, up to {MAX_SPECIES_ID_CHARACTERS} characters: 'american-robin'.",
            param="species",
        ) from error


def _is_minimal(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return "return=minimal" in (each.partition(";")[0].replace(" ", "") for each in preferences)


async def _answered_briefly(request: Request, call: Call, drawing: Drawing) -> Response:
    """The finished story without its picture, written down as used, once it is stored; raises RecordsUnavailable."""
    gateway: Gateway = request.app.state.gateway
    gateway.records.usage.record_soon(usage_of(drawing, call.request_id, request.state.tenant))
    if not await drawing.told.is_stored():
        raise RecordsUnavailable("The picture was drawn and could not be stored.", retry_after_seconds=1)
    headers = {**drawing.headers, **rate_limit(request), "Preference-Applied": "return=minimal"}
    known = tag_is_known(request.headers.get("if-none-match", ""), drawing.headers["ETag"])
    return Response(None, 304 if known else 204, headers)


@contextmanager
def _in_our_fields() -> Iterator[None]:
    """Has errors name the fields that the caller sent."""
    try:
        yield
    except BowerbirdError as error:
        error.param = _STATED_AS.get(error.param or "", error.param)
        raise
