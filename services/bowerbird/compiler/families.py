"""Which family a checkpoint belongs to, and what that means: its components, and what its denoiser is told.

    Stable Diffusion 1.x, 2.x, Turbo   one CLIP text encoder, its last hidden states
    Stable Diffusion XL, XL Turbo      two, their penultimate hidden states side by side, the second one's pooled
                                       projection, and sizes (`time_ids`)
    distilled by consistency (LCM)     either of them whose UNet embeds the guidance scale instead of being run twice
    AnimateDiff                        the first of them whose UNet has motion modules: it draws clips, not pictures
    Stable Video Diffusion             clips that go on from a picture: CLIP's image encoder, the picture's latents, and
                                       three numbers; no prompt

Told by the UNet's config, not by the pipeline's name: that is what people edit. What a family needs beyond this table
is refused by name, because a picture without it would look right and be wrong. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bowerbird.compiler.animate_diff import motion_facts
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.stable_video import GUIDANCE_SCALE, STEPS, VIDEO_UNET, video_facts
from bowerbird.engine.bundle import IMAGE_ENCODER, TEXT_ENCODERS, MotionFacts

PREVIEW = "preview_vae"
TIME_IDS = 6
UNREAD = {
    "class_embed_type": "class labels",
    "encoder_hid_dim_type": "projected image or text embeddings",
    "num_class_embeds": "class labels",
}
"""Configs of a UNet that make it read what no prompt gives."""


@dataclass(frozen=True, slots=True)
class Family:
    """What the engine must do for a checkpoint, and what a picture takes when nothing is asked.

    `motion` is what is said of its clips; None of one that draws pictures.
    """

    name: str
    text_encoders: tuple[str, ...]
    default_steps: int
    default_guidance_scale: float
    size_conditioned: bool = False
    embeds_guidance: bool = False
    zero_empty_negative: bool = False
    motion: MotionFacts | None = None

    @property
    def reads_prompts(self) -> bool:
        """False of one that is told a picture."""
        return bool(self.text_encoders)

    @property
    def components(self) -> tuple[str, ...]:
        """Folders of the checkpoint that have weights."""
        return (*(self.text_encoders or (IMAGE_ENCODER,)), "unet", "vae")


def family_of(checkpoint: Checkpoint) -> Family:
    """Raises CheckpointUnsupported, naming what the checkpoint needs, when it belongs to none of the families."""
    if checkpoint.class_of("unet") == VIDEO_UNET:
        return Family("Stable Video Diffusion", (), STEPS, GUIDANCE_SCALE, motion=video_facts(checkpoint))
    unet = checkpoint.config("unet")
    _refuse_unread(unet)
    embeds_guidance = unet.get("time_cond_proj_dim") is not None
    steps, guidance_scale = _defaults(checkpoint, embeds_guidance)
    motion = motion_facts(checkpoint)
    if motion is not None:
        _refuse_clips_told_more(unet, embeds_guidance)
        _refuse_attention_mask(checkpoint)
        return Family("AnimateDiff", TEXT_ENCODERS[:1], steps, guidance_scale, motion=motion)
    match unet.get("addition_embed_type"):
        case None:
            _refuse_attention_mask(checkpoint)
            return Family("Stable Diffusion", TEXT_ENCODERS[:1], steps, guidance_scale, False, embeds_guidance)
        case "text_time":
            _refuse_refiner(checkpoint, unet)
            zero = bool(checkpoint.index.get("force_zeros_for_empty_prompt", True))
            return Family("Stable Diffusion XL", TEXT_ENCODERS, steps, guidance_scale, True, embeds_guidance, zero)
        case other:
            raise CheckpointUnsupported(f"The unet reads additional embeddings of type {other}, which no prompt gives.")


def _defaults(checkpoint: Checkpoint, embeds_guidance: bool) -> tuple[int, float]:
    """Steps and guidance as the families' model cards give them; a Turbo is known by its scheduler's config."""
    sampler = checkpoint.class_of("scheduler")
    if sampler == "LCMScheduler":
        return 4, 8.5 if embeds_guidance else 1.0
    trailing = checkpoint.config("scheduler").get("timestep_spacing") == "trailing"
    if trailing and sampler == "EulerAncestralDiscreteScheduler":
        return 1, 1.0
    return 30, 7.5


def _refuse_unread(unet: dict[str, Any]) -> None:
    for key, what in UNREAD.items():
        if unet.get(key) is not None:
            raise CheckpointUnsupported(f"The unet reads {what} ({key} is {unet[key]}), which no prompt gives.")
    if unet["in_channels"] != unet["out_channels"]:
        raise CheckpointUnsupported(
            f"The unet reads {unet['in_channels']} channels and answers {unet['out_channels']}: one for inpainting or "
            "editing, which is told more than noise. Text-to-image checkpoints are compiled."
        )


def _refuse_clips_told_more(unet: dict[str, Any], embeds_guidance: bool) -> None:
    if embeds_guidance or unet.get("addition_embed_type") is not None:
        told = "the guidance scale" if embeds_guidance else "sizes"
        raise CheckpointUnsupported(f"The unet draws clips and is told {told}, which is compiled for pictures only.")


def _refuse_attention_mask(checkpoint: Checkpoint) -> None:
    if checkpoint.config("text_encoder").get("use_attention_mask"):
        raise CheckpointUnsupported("The text_encoder masks its padding (use_attention_mask), which is not compiled.")


def _refuse_refiner(checkpoint: Checkpoint, unet: dict[str, Any]) -> None:
    """The refiner has one text encoder and an aesthetic score in its time ids: it refines, it does not draw."""
    missing = [name for name in TEXT_ENCODERS if not checkpoint.has(name)]
    if missing:
        raise CheckpointUnsupported(f"The unet is of Stable Diffusion XL, but the checkpoint has no {missing[0]}.")
    pooled = int(checkpoint.config("text_encoder_2")["projection_dim"])
    ids, rest = divmod(unet["projection_class_embeddings_input_dim"] - pooled, unet["addition_time_embed_dim"])
    if (ids, rest) != (TIME_IDS, 0):
        raise CheckpointUnsupported(f"The unet reads {ids} time ids where Stable Diffusion XL has {TIME_IDS}.")
