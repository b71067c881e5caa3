"""`/judge_clips` and `/publish_clip`, as the gateway asks them: scores, choice, labels that hold."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import numpy as np
import pytest

from bowerbird.contracts import (
    ClipFormat,
    ClipJudgement,
    Contract,
    JudgeClips,
    Picture,
    ProvenanceReport,
    PublishClip,
    PublishDone,
)
from bowerbird.curation.clips.boxes import boxes
from bowerbird.curation.clips.encoding import MEDIA_TYPES
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.encoding import COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, TRAINED_ALGORITHMIC_MEDIA
from bowerbird.parts import END_OF_STREAM, Kind, part
from tests.unit.curation.clips.moving import Clip, crossing, psnr
from tests.unit.curation.clips.test_encoding import FORMATS, decoded, wanted
from tests.unit.curation.streams import HEADERS, body, error_of, frames_of, parts_of, tinted


def green(clip: Clip) -> Clip:
    return np.stack([tinted(frame, 1) for frame in clip])


def still(clip: Clip) -> Clip:
    return np.repeat(clip[:1], len(clip), axis=0)


async def judged(client: httpx.AsyncClient, *clips: Clip, prompt: str = "green", **fields: Any) -> ClipJudgement:
    request = JudgeClips(prompt=prompt, clips=len(clips), frames=len(clips[0]), frames_per_second=12, **fields)
    frames = [frame for clip in clips for frame in frames_of(*clip)]
    answer = await client.post("/judge_clips", content=body(request, *frames), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return ClipJudgement.model_validate_json(answer.content)


async def published(client: httpx.AsyncClient, request: PublishClip, clip: Clip) -> tuple[Picture, bytes]:
    answer = await client.post("/publish_clip", content=body(request, *frames_of(*clip)), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    picture, done = await parts_of(answer)
    assert done.kind is Kind.DONE
    assert done.read(PublishDone).count == 1
    return Picture.model_validate(picture.facts), picture.body


@pytest.fixture(scope="module")
def clip() -> Clip:
    return crossing(frames=12)


async def test_the_clip_that_shows_the_prompt_is_the_best(client: httpx.AsyncClient, clip: Clip) -> None:
    judgement = await judged(client, clip, green(clip))
    assert judgement.ranking.order == [1, 0]
    assert judgement.clips[1].total > judgement.clips[0].total
    assert judgement.judge.startswith("colours@sha256:")


async def test_a_clip_that_stands_still_never_wins(client: httpx.AsyncClient, clip: Clip) -> None:
    judgement = await judged(client, still(green(clip)), clip)
    assert judgement.clips[0].rejected == ["motionless"]
    assert judgement.ranking.order == [1, 0]


async def test_a_clip_that_stands_still_wins_where_the_prompt_asks_for_it(
    client: httpx.AsyncClient, clip: Clip
) -> None:
    judgement = await judged(client, clip, still(green(clip)), prompt="green, standing still")
    assert judgement.clips[1].rejected == []
    assert judgement.ranking.order == [1, 0]


async def test_a_blank_clip_stays_one_where_the_prompt_asks_for_no_motion(
    client: httpx.AsyncClient, clip: Clip
) -> None:
    judgement = await judged(client, np.full_like(clip, 128), prompt="green, not moving")
    assert judgement.clips[0].rejected == ["blank"]


async def test_a_blank_frame_among_good_ones_is_a_hard_fact(client: httpx.AsyncClient, clip: Clip) -> None:
    broken = clip.copy()
    broken[-1] = 128
    judgement = await judged(client, broken)
    assert judgement.clips[0].rejected == ["blank"]


async def test_every_score_of_a_clip_says_how_to_read_it(client: httpx.AsyncClient, clip: Clip) -> None:
    [scores] = (await judged(client, clip, loop=True)).clips
    named = {score.name: score for score in scores.scores}
    assert {"prompt_match", "sharpness", "temporal_flickering", "motion_smoothness", "dynamic_degree"} <= set(named)
    assert {"subject_consistency", "loop_seam"} <= set(named)
    assert all(score.minimum <= score.value <= score.maximum for score in scores.scores)
    assert named["loop_seam"].value > 1.5


@pytest.mark.parametrize("output_format", FORMATS)
async def test_a_clip_leaves_with_a_label_that_holds(
    client: httpx.AsyncClient, clip: Clip, credentials: Credentials, output_format: ClipFormat
) -> None:
    request = wanted(output_format, 12, 12).model_copy(update={"drawn_frames": 8})
    facts, content = await published(client, request, clip)
    assert facts.media_type == MEDIA_TYPES[output_format]
    assert facts.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    credential = credentials.read(content, facts.media_type)
    assert credential is not None
    assert credential.state == "trusted"
    assert credential.failures == []
    origin = credential.assertion("org.bowerbird.origin") or {}
    assert origin["clip"] == {"frames": 12, "drawn_frames": 8, "frames_per_second": 12}
    report = await _report(client, content)
    assert report.verdict == "made_here_intact"
    assert report.digital_source_type == TRAINED_ALGORITHMIC_MEDIA


@pytest.mark.parametrize("output_format", FORMATS)
async def test_a_signed_clip_shows_what_was_drawn_and_for_as_long(
    client: httpx.AsyncClient, clip: Clip, output_format: ClipFormat
) -> None:
    """A credential is put between what a file says of itself and its frames, which all lie further behind then."""
    _, content = await published(client, wanted(output_format, 12, 12), clip)
    frames, seconds = decoded(content, output_format)
    assert frames.shape == clip.shape
    assert psnr(frames, clip) > 28
    assert [max(range(12), key=lambda other: psnr(frame[None], clip[other][None])) for frame in frames] == [*range(12)]
    assert sum(seconds) == pytest.approx(1.0, abs=0.006)


async def test_a_signed_mp4_can_be_played_before_all_of_it_is_there(client: httpx.AsyncClient, clip: Clip) -> None:
    _, content = await published(client, wanted(ClipFormat.MP4, 12, 12), clip)
    kinds = [kind for kind, _ in boxes(content)]
    assert kinds.index(b"moov") < kinds.index(b"mdat")


@pytest.mark.parametrize("output_format", FORMATS)
async def test_a_changed_frame_breaks_the_label(
    client: httpx.AsyncClient, clip: Clip, output_format: ClipFormat
) -> None:
    _, content = await published(client, wanted(output_format, 12, 12), clip)
    changed = bytearray(content)
    changed[len(content) // 4 if output_format is ClipFormat.WEBP else -40] ^= 0xFF  # WebP ends with its manifest
    report = await _report(client, bytes(changed))
    assert report.verdict == "made_here_modified"
    assert report.model == "fledgling-motion"


async def _report(client: httpx.AsyncClient, content: bytes) -> ProvenanceReport:
    answer = await client.post("/check_provenance", content=content)
    assert answer.status_code == 200, answer.text
    return ProvenanceReport.model_validate_json(answer.content)


async def test_a_clip_that_begins_with_a_picture_names_it(
    client: httpx.AsyncClient, clip: Clip, credentials: Credentials
) -> None:
    _, first = await published(client, wanted(ClipFormat.WEBP, 2), clip[:2])
    request = wanted(ClipFormat.MP4, 12, 12).model_copy(update={"source": "image/webp"})
    frames = b"".join(part(Kind.FRAMES, each) for each in frames_of(*clip))
    content = part(Kind.REQUEST, request) + part(Kind.FILE, first) + frames + END_OF_STREAM
    answer = await client.post("/publish_clip", content=content, headers=HEADERS)
    picture, _ = await parts_of(answer)
    credential = credentials.read(picture.body, "video/mp4")
    assert credential is not None
    assert credential.state == "trusted"
    assert [action["action"] for action in credential.actions()] == ["c2pa.opened", "c2pa.edited"]
    assert credential.actions()[1]["digitalSourceType"] == COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA


def _one_smaller(clip: Clip) -> list[bytes]:
    return [*frames_of(*clip[:-1]), *frames_of(clip[-1][:-2])]


@pytest.mark.parametrize("path", ["/judge_clips", "/publish_clip"])
@pytest.mark.parametrize(
    ("frames", "fact"),
    [
        (lambda clip: frames_of(*clip[:-1]), "11 frames came"),
        (lambda clip: frames_of(*clip, clip[0]), "More frames came than the 12"),
        (_one_smaller, "Frame 11 is not of the size"),
    ],
    ids=["fewer", "more", "smaller"],
)
async def test_frames_that_are_no_clip_are_refused(
    client: httpx.AsyncClient, clip: Clip, path: str, frames: Any, fact: str
) -> None:
    request: Contract = JudgeClips(prompt="green", frames=12, frames_per_second=12)
    if path == "/publish_clip":
        request = wanted(ClipFormat.GIF, 12)
    answer = await client.post(path, content=body(request, *frames(clip)), headers=HEADERS)
    assert answer.status_code == 400
    assert fact in error_of(answer)["message"]
