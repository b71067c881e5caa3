"""The C2PA manifest of one picture or clip: what Bowerbird says, under its signature, about where it comes from.

Written by `credentials.sign`, understood by `provenance`. It names the model and its digest, the digest of the seed,
the safety policy, the versions of the services, the request and the trace; of a species' picture also the template of
its prompt and the table that chose its LoRA, by version and digest. It never holds the prompt, a tenant or a user: a
picture is passed on, and whoever has it can read its manifest.
"""

from __future__ import annotations

import datetime
from typing import Any

from bowerbird import __version__
from bowerbird.contracts import Origin, PublishClip, PublishRequest
from bowerbird.curation.encoding import COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, TRAINED_ALGORITHMIC_MEDIA

ORIGIN_LABEL = "org.bowerbird.origin"
CREATED, OPENED, EDITED = "c2pa.created", "c2pa.opened", "c2pa.edited"
MADE = frozenset({CREATED, EDITED})
"""Actions of ours that say which model made the picture, and when."""
ORIGINAL = "original"
"""How the actions of an edit call the ingredient that it began with (`credentials.Ingredient`)."""
GENERATOR = {"name": "Bowerbird", "version": __version__}


def manifest_of(wanted: PublishRequest, index: int, media_type: str) -> dict[str, Any]:
    """The manifest of picture `index` of a request, in c2pa's JSON form; the time of making is now (UTC).

    That of a preview says after which step it shows the picture, so that nobody takes it for the finished one. That of
    an edit says that a picture was opened, and edited by the model.
    """
    facts = _facts(wanted.origin, index)
    if wanted.preview is not None:
        facts["preview"] = {"step": wanted.preview.step, "steps": wanted.preview.steps}
    return _manifest(wanted, facts, index, media_type)


def clip_manifest(wanted: PublishClip, media_type: str) -> dict[str, Any]:
    """The manifest of a clip; it says how many frames were drawn, since others lie between those, or were left out."""
    facts = _facts(wanted.origin, 0)
    facts["clip"] = {
        "frames": wanted.frames,
        "drawn_frames": wanted.drawn_frames,
        "frames_per_second": wanted.frames_per_second,
    }
    return _manifest(wanted, facts, 0, media_type)


def _facts(origin: Origin, index: int) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "request_id": origin.request_id,
        "trace_id": origin.trace_id,
        "model": origin.model,
        "model_digest": origin.model_digest,
        "seed_digest": origin.seed_digests[index],
        "safety_policy": origin.policy.model_dump(),
        "services": origin.services,
        "loras": origin.loras,
    }
    if origin.species is not None:
        facts["species"] = origin.species.model_dump()
    return facts


def _manifest(
    wanted: PublishRequest | PublishClip, facts: dict[str, Any], index: int, media_type: str
) -> dict[str, Any]:
    return {
        "title": f"{wanted.origin.request_id}-{index}",
        "format": media_type,
        "claim_generator_info": [GENERATOR],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(wanted)}},
            {"label": ORIGIN_LABEL, "data": facts},
        ],
    }


def _actions(wanted: PublishRequest | PublishClip) -> list[dict[str, Any]]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    made = {"when": now, "softwareAgent": {"name": wanted.origin.model, "version": wanted.origin.model_digest}}
    if wanted.source is None:
        return [{"action": CREATED, "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA, **made}]
    return [
        {"action": OPENED, "parameters": {"ingredientIds": [ORIGINAL]}},
        {"action": EDITED, "digitalSourceType": COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, **made},
    ]
