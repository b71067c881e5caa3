"""A clip, ready to leave: encoded, labelled, signed and read back, as pictures are (`curation.publishing`)."""

from __future__ import annotations

from bowerbird.contracts import Picture, PublishClip
from bowerbird.curation.clips.encoding import MEDIA_TYPES, encode_clip
from bowerbird.curation.credentials import Ingredient
from bowerbird.curation.encoding import COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, TRAINED_ALGORITHMIC_MEDIA
from bowerbird.curation.manifest import clip_manifest
from bowerbird.curation.publishing import Publisher, Work
from bowerbird.frames import Frames


def publish_clip(
    publisher: Publisher, frames: Frames, wanted: PublishClip, original: Ingredient | None = None
) -> tuple[Picture, bytes]:
    """Facts and bytes of a clip, from uint8 `[frames, height, width, 3]`; raises LabelFailed.

    `original` is the picture that it begins with.
    """
    media_type = MEDIA_TYPES[wanted.format]
    source = TRAINED_ALGORITHMIC_MEDIA if original is None else COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    work = Work(
        0,
        media_type,
        wanted.format.value,
        lambda: encode_clip(frames, wanted, source),
        lambda: clip_manifest(wanted, media_type),
    )
    return publisher.finish(work, original)
