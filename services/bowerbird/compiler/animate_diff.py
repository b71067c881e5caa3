"""AnimateDiff: a still checkpoint's UNet and a motion adapter, or a UNet that has motion modules already.

`compiling` calls `join_motion` before it asks for the family. Both forms are brought to one, diffusers'
UNetMotionModel (Guo et al., "AnimateDiff", 2024): an adapter's tensors have the names that they have in it, so the two
weight files side by side are its weights, and nothing is loaded to join them. Torch-free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bowerbird.compiler.checkpoint import FACTS, Checkpoint, CheckpointUnsupported
from bowerbird.compiler.stable_video import VIDEO_UNET
from bowerbird.engine.bundle import MotionFacts

MOTION_ADAPTER = "motion_adapter"
MOTION_UNET = "UNetMotionModel"
WINDOW, FRAMES_PER_SECOND, MAX_FRAMES = 16, 8.0, 120
"""What AnimateDiff's modules were taught on, and the longest clip that is drawn in windows of it."""
_FROM_UNET = (
    "sample_size", "in_channels", "out_channels", "block_out_channels", "downsample_padding", "mid_block_scale_factor",
    "act_fn", "norm_num_groups", "norm_eps", "cross_attention_dim", "transformer_layers_per_block",
    "reverse_transformer_layers_per_block", "use_linear_projection", "encoder_hid_dim", "encoder_hid_dim_type",
    "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim", "time_cond_proj_dim",
)  # fmt: skip
_FROM_ADAPTER = {
    "motion_layers_per_block": "layers_per_block",
    "motion_num_attention_heads": "motion_num_attention_heads",
    "motion_max_seq_length": "motion_max_seq_length",
    "use_motion_mid_block": "use_motion_mid_block",
    "motion_transformer_layers_per_block": "temporal_transformer_layers_per_block",
    "motion_transformer_layers_per_mid_block": "temporal_transformer_layers_per_mid_block",
}


def join_motion(checkpoint: Checkpoint, adapter: Path | None) -> None:
    """Makes a UNetMotionModel of the checkpoint's UNet and `adapter`, or of its own `motion_adapter`.

    A checkpoint without either, and one whose UNet has its motion modules, are left as they are. Raises
    CheckpointUnsupported when the two do not fit, the UNet would not read the adapter, or the adapter is of a kind that
    draws from a picture (PIA).
    """
    if adapter is not None and checkpoint.class_of("unet") in (MOTION_UNET, VIDEO_UNET):
        raise CheckpointUnsupported(f"The unet has motion modules of its own; nothing reads the adapter {adapter}.")
    checkpoint.add(MOTION_ADAPTER, adapter)
    if not checkpoint.has(MOTION_ADAPTER) or checkpoint.class_of("unet") != "UNet2DConditionModel":
        return
    unet, motion = checkpoint.config("unet"), checkpoint.config(MOTION_ADAPTER)
    config = _joined(unet, motion)
    files = [*checkpoint.weight_files("unet"), *checkpoint.weight_files(MOTION_ADAPTER)]
    checkpoint.join("unet", MOTION_UNET, config, files)


def motion_facts(checkpoint: Checkpoint) -> MotionFacts | None:
    """What the bundle says of its clips: what `bowerbird.json` states under "motion", else usual; None of stills.

    Raises CheckpointUnsupported when what is stated is impossible.
    """
    if checkpoint.class_of("unet") != MOTION_UNET:
        return None
    window = _window(checkpoint)
    usual = {"overlap": max(1, window // 4), "max_frames": MAX_FRAMES, "frames_per_second": FRAMES_PER_SECOND}
    try:
        return MotionFacts.model_validate({**usual, **_stated(checkpoint), "window": window})
    except ValidationError as error:
        said = "; ".join(each["msg"] for each in error.errors())
        raise CheckpointUnsupported(f'{FACTS} says of "motion" what cannot be: {said}.') from error


def _window(checkpoint: Checkpoint) -> int:
    """Frames that the motion modules look at together."""
    longest = int(checkpoint.config("unet").get("motion_max_seq_length", WINDOW))
    window = int(_stated(checkpoint).get("window", min(WINDOW, longest)))
    if not 2 <= window <= longest:
        raise CheckpointUnsupported(f"A window of {window} frames: the motion modules know 2 to {longest}.")
    return window


def _stated(checkpoint: Checkpoint) -> dict[str, Any]:
    return dict(checkpoint.facts.get("motion") or {})


def _joined(unet: dict[str, Any], motion: dict[str, Any]) -> dict[str, Any]:
    """UNetMotionModel's config, as diffusers' `UNetMotionModel.from_unet2d` makes it."""
    if motion.get("conv_in_channels"):
        raise CheckpointUnsupported("The motion adapter reads a picture beside the noise (PIA), which is not compiled.")
    levels = len(unet["block_out_channels"])
    pairs = (("block_out_channels", "block_out_channels"), ("layers_per_block", "motion_layers_per_block"))
    for mine, its in pairs:
        one, other = _per_level(unet[mine], levels), _per_level(motion[its], levels)
        if one != other:
            raise CheckpointUnsupported(f"The motion adapter is for a unet whose {mine} are {other}, not {one}.")
    config = {key: unet[key] for key in _FROM_UNET if key in unet}
    config |= {key: motion[its] for its, key in _FROM_ADAPTER.items() if its in motion}
    for side in ("down_block_types", "up_block_types"):
        config[side] = [_with_motion(kind) for kind in unet[side]]
    config["num_attention_heads"] = unet.get("num_attention_heads") or unet["attention_head_dim"]
    return {**config, "_class_name": MOTION_UNET}


def _with_motion(kind: str) -> str:
    """`CrossAttnDownBlock2D` becomes `CrossAttnDownBlockMotion`."""
    if kind not in {f"{attends}{side}Block2D" for attends in ("", "CrossAttn") for side in ("Down", "Up")}:
        raise CheckpointUnsupported(f"The unet has a {kind}, which no motion module follows.")
    return kind.replace("2D", "Motion")


def _per_level(value: Any, levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)
