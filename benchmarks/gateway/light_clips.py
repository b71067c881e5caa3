"""What the light stages answer about clips: one candidate, whose frames are all the same bytes; no preview, no loop."""

from __future__ import annotations

import hashlib
import json

from bowerbird.contracts import (
    Action,
    ClipDecisions,
    ClipJudgement,
    ClipScores,
    ClipVerdict,
    DrawDone,
    FrameFacts,
    MotionDescription,
    Picture,
    PolicyReference,
    PublishDone,
    Ranking,
)
from bowerbird.contracts.curation import CurationDescription
from bowerbird.parts import END_OF_STREAM, Kind, part

MAX_FRAMES = 120


def moving(described: dict[str, object]) -> MotionDescription:
    """A model that moves pictures, otherwise as one that draws them."""
    own = {"window": 16, "overlap": 4, "max_frames": MAX_FRAMES, "frames_per_second": 8.0, "edits": False}
    return MotionDescription.model_validate({**described, **own})


def animated(body: bytes, frame: bytes, model: MotionDescription) -> bytes:
    """The parts of the clip that was asked for."""
    asked = json.loads(body)
    digest = hashlib.sha256(frame).hexdigest()
    frames = [
        part(Kind.FRAMES, frame, FrameFacts(index=index, seed=asked["seed"]), digest)
        for index in range(asked["frames"])
    ]
    done = DrawDone(
        model=model.name,
        digest=model.digest,
        seeds=[asked["seed"]],
        seconds={"denoise": 0.5},
        steps_computed=asked["steps"],
    )
    return b"".join(frames) + part(Kind.DONE, done) + END_OF_STREAM


def judged() -> ClipJudgement:
    """The only candidate is the best."""
    ranking = Ranking(image=0, order=[0], margin=1, tie=False)
    return ClipJudgement(
        clips=[ClipScores(index=0, scores=[], total=0.5)], ranking=ranking, tie_margin=0.1, judge="judge@1"
    )


def checked(policy: PolicyReference) -> ClipDecisions:
    """It may leave."""
    verdict = ClipVerdict(index=0, action=Action.ALLOW, reasons=[], category_scores={}, gates=[], looked_at=[0])
    return ClipDecisions(id="dec_3", verdicts=[verdict], policy=policy, latency_ms=1.0)


def published(file: bytes, curation: CurationDescription) -> bytes:
    """The parts of an encoded clip."""
    facts = Picture(
        index=0,
        media_type="video/mp4",
        digest=f"sha256:{hashlib.sha256(file).hexdigest()}",
        manifest_bytes=1,
        encode_ms=1,
        sign_ms=1,
    )
    return part(Kind.PICTURE, file, facts) + part(Kind.DONE, PublishDone(count=1, curation=curation)) + END_OF_STREAM
