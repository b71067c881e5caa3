"""The C2PA manifest of one picture: what Bowerbird says, under its signature, about where it comes from.

Written by `credentials.sign`, understood by `provenance`. It names the model and its digest, the digest of the seed,
the safety policy, the versions of the services, the request and the trace. It never holds the prompt, a tenant or a
user: a picture is passed on, and whoever has it can read its manifest.
"""

from __future__ import annotations

import datetime
from typing import Any

from bowerbird import __version__
from bowerbird.contracts import Origin
from bowerbird.curation.encoding import TRAINED_ALGORITHMIC_MEDIA

ORIGIN_LABEL = "org.bowerbird.origin"
CREATED = "c2pa.created"
GENERATOR = {"name": "Bowerbird", "version": __version__}


def manifest_of(origin: Origin, index: int, media_type: str) -> dict[str, Any]:
    """The manifest of picture `index` of a request, in c2pa's JSON form; the time of making is now (UTC)."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    created = {
        "action": CREATED,
        "when": now,
        "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "softwareAgent": {"name": origin.model, "version": origin.model_digest},
    }
    facts = {
        "request_id": origin.request_id,
        "trace_id": origin.trace_id,
        "model": origin.model,
        "model_digest": origin.model_digest,
        "seed_digest": origin.seed_digests[index],
        "safety_policy": origin.policy.model_dump(),
        "services": origin.services,
        "loras": origin.loras,
    }
    return {
        "title": f"{origin.request_id}-{index}",
        "format": media_type,
        "claim_generator_info": [GENERATOR],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": ORIGIN_LABEL, "data": facts},
        ],
    }
