"""What an engine that serves can draw, and what it costs: the answer to `/describe`.

The gateway checks and prices requests by it before any model is asked.
"""

from __future__ import annotations

from typing import Any, TypeVar

from bowerbird.contracts import ModelCosts, ModelDescription, MotionDescription, SizeCosts
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.engine.scheduling.work import Stage

Description = TypeVar("Description", bound=ModelDescription)


def description_of(executor: Executor) -> ModelDescription:
    """Of pictures."""
    return _described(ModelDescription, executor, costs_of(executor.engine))


def motion_description_of(executor: Executor) -> MotionDescription:
    """Of clips; the engine's bundle has a motion denoiser."""
    engine, motion = executor.engine, executor.engine.motion
    assert motion is not None  # noqa: S101 - the service serves no other
    return _described(
        MotionDescription,
        executor,
        costs_of(engine, clips=True),
        window=motion.window,
        overlap=motion.overlap,
        max_frames=motion.max_frames,
        frames_per_second=motion.frames_per_second,
        begins="must" if motion.image else "may" if engine.encoder else "no",
        prompts=engine.facts.reads_prompts,
        loops=motion.image is None,
        circle=motion.circle,
    )


def costs_of(engine: Engine, *, clips: bool = False) -> ModelCosts | None:
    """What requests cost here, as far as the engine has measured it; None before it has run.

    Of `clips`, a row of a step is one of a whole window.
    """
    costs, facts = engine.costs, engine.facts
    if not costs.unit_seconds:
        return None
    guided_rows = 1 if facts.embeds_guidance else 2
    decoded = engine.motion.decoded_together if clips and engine.motion else 1
    batch = guided_rows if clips else engine.rows_per_batch
    return ModelCosts(
        unit_seconds=costs.unit_seconds,
        guided_rows=guided_rows,
        sizes=[
            SizeCosts(
                size=size,
                encode=costs.units(Stage.ENCODE, engine.bucket(size), 1),
                step=costs.units(Stage.STEP, engine.bucket(size, clips=clips), batch),
                decode=costs.units(Stage.DECODE, engine.bucket(size), 1) / decoded,
                read=costs.units(Stage.ENCODE_PICTURE, engine.bucket(size), 1),
            )
            for size in facts.sizes
        ],
    )


def _described(kind: type[Description], executor: Executor, costs: ModelCosts | None, **more: Any) -> Description:
    engine = executor.engine
    manifest, drawing = engine.bundle.manifest, engine.facts
    return kind(
        name=manifest.name,
        version=manifest.version,
        digest=engine.bundle.digest,
        licence=manifest.licence,
        created=manifest.created,
        sizes=drawing.sizes,
        max_steps=drawing.max_steps,
        default_steps=drawing.default_steps,
        default_guidance_scale=drawing.default_guidance_scale,
        max_prompt_tokens=engine.conditioner.max_prompt_tokens,
        slots=executor.slots,
        max_lora_rank=engine.max_lora_rank,
        previews=engine.preview is not None,
        edits=engine.encoder is not None,
        costs=costs,
        lineage=manifest.lineage,
        **more,
    )
