"""Stable Video Diffusion: a UNet over frames that is told a picture, and no prompt.

`families` asks `video_facts` for what a bundle says of its clips; `parts` and `compiling` ask what else the checkpoint
states (Blattmann et al., "Stable Video Diffusion", 2023, as diffusers' StableVideoDiffusionPipeline draws with it).
Torch-free.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from bowerbird.compiler.checkpoint import FACTS, Checkpoint, CheckpointUnsupported
from bowerbird.engine.bundle import ImageConditioning, MotionFacts

VIDEO_UNET = "UNetSpatioTemporalConditionModel"
VIDEO_TIME_IDS = 3
"""Frames per second less one, motion bucket, strength of the noise on the picture."""
FEATURE_EXTRACTOR = "feature_extractor"
FRAMES_PER_SECOND, STEPS, GUIDANCE_SCALE = 7.0, 25, 3.0
"""What the pipeline takes when nothing is asked."""
MOST_FRAMES = 31
"""Of a row: diffusers' layers that enlarge take another way from 64 pictures on, and guidance asks for two rows."""
DECODED_TOGETHER = 8
"""Frames, where nothing is stated: what diffusers' own examples take, since all at once need the memory of all."""


def video_facts(checkpoint: Checkpoint) -> MotionFacts:
    """What the bundle says of its clips: what `bowerbird.json` states under "motion", else what the pipeline takes.

    Raises CheckpointUnsupported when the UNet is told other than a picture, or what is stated is impossible.
    """
    unet = checkpoint.config("unet")
    _refuse_told_otherwise(checkpoint, unet)
    stated = dict(checkpoint.facts.get("motion") or {})
    window = int(stated.get("window", unet["num_frames"]))
    usual = {
        "overlap": max(1, window // 4),
        "frames_per_second": FRAMES_PER_SECOND,
        "decoded_together": min(DECODED_TOGETHER, window),
        "image": ImageConditioning(),
    }
    try:
        facts = MotionFacts.model_validate({**usual, **stated, "window": window, "max_frames": window})
    except ValidationError as error:
        said = "; ".join(each["msg"] for each in error.errors())
        raise CheckpointUnsupported(f'{FACTS} says of "motion" what cannot be: {said}.') from error
    for what, frames in (("drawn", facts.window), ("decoded", facts.decoded_together)):
        if frames > MOST_FRAMES:
            raise CheckpointUnsupported(f"{frames} frames would be {what} together; at most {MOST_FRAMES} can be.")
    return facts


def image_statistics(checkpoint: Checkpoint) -> tuple[list[float], list[float]]:
    """Mean and deviation of each colour, 0..1, by which the image encoder's pictures are normalised."""
    config = checkpoint.config(FEATURE_EXTRACTOR)
    try:
        return [float(each) for each in config["image_mean"]], [float(each) for each in config["image_std"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointUnsupported(f"The {FEATURE_EXTRACTOR} does not say by what pictures are normalised.") from error


def refuse_other_times(scheduler: Any) -> None:
    """Raises CheckpointUnsupported for a scheduler that tells the UNet anything but a quarter of the noise's logarithm.

    Only one of diffusers does, and only for what predicts velocities.
    """
    config = scheduler.config
    tells = config.get("timestep_type"), config.get("prediction_type")
    if type(scheduler).__name__ != "EulerDiscreteScheduler" or tells != ("continuous", "v_prediction"):
        raise CheckpointUnsupported(
            "The unet is told how noisy its frames are, and not at which step they are: its sampler must be an "
            "EulerDiscreteScheduler of continuous timesteps and v_prediction."
        )


def _refuse_told_otherwise(checkpoint: Checkpoint, unet: dict[str, Any]) -> None:
    missing = [name for name in ("image_encoder", FEATURE_EXTRACTOR) if not checkpoint.has(name)]
    if missing:
        raise CheckpointUnsupported(f"The unet is told a picture, but the checkpoint has no {missing[0]}.")
    if unet["in_channels"] != 2 * unet["out_channels"]:
        raise CheckpointUnsupported(
            f"The unet reads {unet['in_channels']} channels and answers {unet['out_channels']}: it is told more than "
            "noise and a picture, or less."
        )
    ids, rest = divmod(unet["projection_class_embeddings_input_dim"], unet["addition_time_embed_dim"])
    if (ids, rest) != (VIDEO_TIME_IDS, 0):
        raise CheckpointUnsupported(f"The unet reads {ids} time ids where Stable Video Diffusion has {VIDEO_TIME_IDS}.")
