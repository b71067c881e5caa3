"""`/v1/videos`: clips, each a job; `Client.animate` makes one, follows it and brings it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from bowerbird.client.calls import Call, File, Page, Received, Value, get, keyed, last_id, page_of, step, text, value_of

VIDEOS = "/v1/videos"


class ClipOptions(TypedDict, total=False):
    """What may be said beside a clip's prompt; what is left out takes the gateway's default, which checks all of it."""

    model: str
    seconds: float
    """2 to 5."""
    fps: int
    """Frames a second, 8 to 24."""
    format: Literal["mp4", "webp", "gif"]
    quality: int
    """Of the encoder, 0 to 100."""
    size: str
    """`WIDTHxHEIGHT` in pixels, one of the model's sizes."""
    loop: bool
    """The last frame goes over into the first."""
    seed: int
    negative_prompt: str
    steps: int
    guidance_scale: float
    candidates: int
    """Drawn; the best is kept."""
    strength: float
    """How far the frames may go from the picture that the clip begins with, above 0 to 1."""
    safety_identifier: str


class Video(Value):
    """A clip as the gateway last knew it."""

    id: str
    status: str
    """queued, in_progress, completed or failed."""
    progress: int
    """In percent."""
    created_at: int
    """Unix seconds, as every `…_at`."""
    completed_at: int | None
    expires_at: int | None
    model: str
    seconds: str
    size: str
    error: dict[str, Any] | None
    bowerbird: dict[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """How it came to be: seed, scores, frames; nothing before it is completed."""
        facts: Mapping[str, Any] | None = self.bowerbird["facts"]
        return facts or {}


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished clip: its file, and what the gateway says of it."""

    content: bytes = field(repr=False)
    media_type: str
    video: Video

    @property
    def seed(self) -> int:
        """Draws this very clip again, with `candidates` 1."""
        return int(self.video.facts["images"][0]["seed"])

    @property
    def scores(self) -> dict[str, float]:
        """By name, as curation judged it."""
        return {score["name"]: score["value"] for score in self.video.facts["images"][0]["scores"]}


def create_video(prompt: str, options: ClipOptions | None = None, input_reference: File | None = None) -> Call[Video]:
    """`POST /v1/videos`; the clip begins with the picture `input_reference`."""
    asked = {"prompt": prompt, **(options or {})}
    if input_reference is None:
        return keyed(Call("POST", VIDEOS, value_of(Video), json=asked))
    fields = {name: text(value) for name, value in asked.items()}
    return keyed(Call("POST", VIDEOS, value_of(Video), fields=fields, files={"input_reference": input_reference}))


def get_video(video_id: str) -> Call[Video]:
    """`GET /v1/videos/{video}`."""
    return get(f"{VIDEOS}/{step(video_id)}", value_of(Video))


def list_videos(limit: int | None = None, after: str | None = None) -> Call[Page[Video]]:
    """`GET /v1/videos`, newest first."""
    return get(VIDEOS, page_of(Video, last_id), limit=limit, after=after)


def delete_video(video_id: str) -> Call[None]:
    """`DELETE /v1/videos/{video}`: one that is still drawn is cancelled."""
    return Call("DELETE", f"{VIDEOS}/{step(video_id)}", _nothing)


def video_content(video: Video) -> Call[Clip]:
    """`GET /v1/videos/{video}/content`; raises what the clip failed with, or how it ended without one."""

    def read(received: Received) -> Clip:
        return Clip(received.body, received.headers.get("content-type", ""), video)

    return get(f"{VIDEOS}/{step(video.id)}/content", read)


def _nothing(_: Received) -> None:
    """That it is gone is all that is answered."""
