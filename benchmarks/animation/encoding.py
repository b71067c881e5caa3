"""A3: five seconds at 24 a second, encoded, signed and looked at.

Drawn clips (`training.clips`) stand for generated ones: 120 frames of 256 x 256, in which birds move three times as
fast as they do at the 8 a second that they are drawn for. Times are medians of the processor's, which mean the same on
a busy machine; decoding what was encoded says how many decibels it lost.
"""

from __future__ import annotations

import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from benchmarks.engine.scale import Scale
from benchmarks.engine.whole_picture import psnr
from benchmarks.report import Row
from bowerbird.contracts import ClipCheck, ClipFormat, JudgeClips, Origin, PolicyReference, PublishClip
from bowerbird.curation.certificates import load_identity
from bowerbird.curation.clips.encoding import encode_clip
from bowerbird.curation.clips.judging import ClipJudging
from bowerbird.curation.clips.publishing import publish_clip
from bowerbird.curation.encoder import open_judge
from bowerbird.curation.publishing import Publisher, open_credentials
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.safety.clips import ClipLook
from bowerbird.safety.service import load_checks
from bowerbird.settings import Settings
from bowerbird.training.clips import MOTIONS, Clip, clip_at, draw_clip

Frames = NDArray[np.uint8]

FRAMES, FRAMES_PER_SECOND = 120, 24
GOAL_SECONDS = {ClipFormat.GIF: 0.5, ClipFormat.WEBP: 1.0, ClipFormat.MP4: 0.5}
DIGEST = "sha256:" + "0" * 64


def measure(scale: Scale) -> Iterator[Row]:
    """A3: a line for each format, and one for looking at a clip."""
    frames = 8 if scale.small else FRAMES
    clips = [draw_clip(_clip_of(index), frames=frames) for index in range(1 if scale.small else len(MOTIONS))]
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), certificate=None, certificate_key=None)
        publisher = Publisher(open_credentials(load_identity(settings)))
        for each in ClipFormat:
            yield _encoded(publisher, clips, each)
    yield _looked_at(clips)


def _clip_of(index: int) -> Clip:
    """The first clip from `index` thousand on that shows the motion whose turn it is."""
    motion = MOTIONS[index % len(MOTIONS)]
    return next(each for number in range(1000) if (each := clip_at(0, 1000 * index + number)).motion == motion)


def _encoded(publisher: Publisher, clips: list[Frames], output_format: ClipFormat) -> Row:
    wanted = _request(output_format, len(clips[0]))
    encoded = [_timed(lambda each: encode_clip(each, wanted), clip) for clip in clips]
    published = [_timed(lambda each: publish_clip(publisher, each, wanted), clip) for clip in clips]
    seconds, goal = _median(encoded), GOAL_SECONDS[output_format]
    kilobytes = statistics.median(len(file) for _, file in encoded) / 1000
    note = f"{kilobytes:.0f} kB; signed and read back {_median(published):.2f} s"
    if output_format is not ClipFormat.MP4:  # which Pillow does not read
        note += f"; PSNR {_psnr(clips, [file for _, file in encoded]):.1f} dB"
    what = f"encoding {len(clips[0])} frames of 256 x 256 as {output_format.value}, CPU seconds"
    return Row(
        "A3", what, "one thread or the library's", f"<= {goal} s", f"{seconds:.2f} s", seconds <= goal, note=note
    )


def _timed(work: Callable[[Frames], Any], clip: Frames) -> tuple[float, Any]:
    begun = time.process_time()
    result = work(clip)
    return time.process_time() - begun, result


def _median(timed: list[tuple[float, Any]]) -> float:
    return statistics.median(seconds for seconds, _ in timed)


def _psnr(clips: list[Frames], files: list[bytes]) -> float:
    """Median of the clips, in dB; not a number where every file left frames out that equal the one before."""
    values = []
    for clip, file in zip(clips, files, strict=True):
        with Image.open(io.BytesIO(file)) as image:
            frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        if len(frames) == len(clip):
            values.append(psnr(np.stack(frames).astype(float), clip.astype(float)))
    return statistics.median(values) if values else math.nan


def _looked_at(clips: list[Frames]) -> Row:
    """Safety's and curation's whole look at one clip; there is no goal."""
    checks, count = load_checks(Settings()), len(clips[0])
    judge = open_judge(Settings().judge, CpuBackend(threads=1))
    wanted = JudgeClips(prompt="a cardinal taking off, winter", frames=count, frames_per_second=FRAMES_PER_SECOND)
    asked = ClipCheck(frames=count, frames_per_second=FRAMES_PER_SECOND)
    judging = ClipJudging(judge, wanted)

    def checked(clip: Frames) -> object:
        look = ClipLook(0, asked, checks.images, checks.policy)
        for frame in clip:
            look.see(frame)
        return look.verdict()

    safety = _median([_timed(checked, clip) for clip in clips])
    curation = _median([_timed(lambda clip: judging.look_at(0, clip), clip) for clip in clips])
    figure = f"safety {safety:.2f} s, curation {curation:.2f} s"
    return Row("A3", f"looking at {count} frames of 256 x 256, CPU seconds", "`cpu`", "", figure)


def _request(output_format: ClipFormat, frames: int) -> PublishClip:
    origin = Origin(
        request_id="req_0123456789abcdef",
        trace_id="0" * 32,
        model="fledgling-motion",
        model_digest=DIGEST,
        seed_digests=[DIGEST],
        policy=PolicyReference(id="default", version="1", digest=DIGEST),
        services={name: "0.1.0" for name in ("gateway", "safety", "animation", "curation")},
    )
    return PublishClip(
        frames=frames, frames_per_second=FRAMES_PER_SECOND, drawn_frames=frames, format=output_format, origin=origin
    )
