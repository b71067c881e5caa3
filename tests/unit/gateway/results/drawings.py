"""Results and recipes for tests."""

from __future__ import annotations

from typing import Any

from bowerbird.contracts import CurationDescription, FrameJudgement
from bowerbird.gateway.results.key import Recipe
from bowerbird.gateway.results.result import Chosen, Facts, Result

DIGEST = "sha256:" + "a" * 64
POLICY = "sha256:" + "b" * 64
CURATION = CurationDescription(version="1", judge="judge@1", certificate="sha256:" + "f" * 64)
OTHER_DIGEST = "sha256:" + "9" * 64


def recipe(**changes: Any) -> Recipe:
    """One picture of a robin, or `changes` of it."""
    fields: dict[str, Any] = {
        "software": "1",
        "tenant": "local",
        "policy": POLICY,
        "curation": CURATION.model_dump_json(),
        "model": DIGEST,
        "prompt": "a robin",
        "negative_prompt": None,
        "width": 32,
        "height": 32,
        "steps": 2,
        "guidance_scale": 4.0,
        "images": 1,
        "candidates": 1,
        "output_format": "png",
        "output_compression": 100,
        "loras": (),
    }
    return Recipe(**(fields | changes))


def result(*pictures: bytes, request_id: str = "req_1") -> Result:
    """What drawing that recipe gave."""
    chosen = [Chosen(index, index, FrameJudgement(index=index, scores=[], total=1.5)) for index in range(len(pictures))]
    facts = Facts(
        request_id=request_id,
        created=1_790_000_000,
        model="fledgling",
        model_digest=DIGEST,
        policy=POLICY,
        curation=CURATION,
        loras={},
        chosen=chosen,
    )
    return Result(facts, list(pictures))
