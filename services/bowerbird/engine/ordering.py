"""Requests made orders: checked against the model and tokenised, before anything is computed.

`Engine.order` and `Engine.animate` call it when a request arrives, so that what cannot be drawn is said as a status.
It costs no computing, but reads the files of LoRAs that are named. `pictures` are what a request begins with
(`contracts.Beginning`), each uint8 `[1, height, width, 3]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bowerbird.contracts import AnimateRequest, Beginning, DrawRequest
from bowerbird.engine.model.clip import ClipForm
from bowerbird.engine.model.encoder import FirstPicture
from bowerbird.engine.order import Order
from bowerbird.errors import BundleInvalid, FieldUnknown, RequestInvalid, SizeUnsupported
from bowerbird.frames import Frames

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine


def pictures(engine: Engine, request: DrawRequest, begun_with: Sequence[Frames] = ()) -> Order:
    """`count` pictures.

    Raises SizeUnsupported, PromptTooLong, RequestInvalid (steps), LoraUnknown, LoraInvalid, or FieldUnknown (a
    negative prompt that nothing would read, previews that this bundle cannot make).
    """
    if not engine.draws_pictures:
        raise BundleInvalid(f"{engine.bundle.folder} draws clips only: it has no denoiser.")
    checked = _checked(engine, request, begun_with)
    return Order(**checked, loras=tuple((engine.shelf.find(use.id), use.weight) for use in request.lora))


def clips(engine: Engine, request: AnimateRequest, begun_with: Sequence[Frames] = ()) -> Order:
    """`count` clips.

    Raises as `pictures` does, and RequestInvalid for more frames than the model draws, fewer than are drawn, or without
    the prompt or the picture that the model cannot do without.
    """
    motion = engine.motion
    if motion is None:
        raise BundleInvalid(f"{engine.bundle.folder} draws no clips: it has no motion_denoiser.")
    drawn = request.frames if request.drawn is None else request.drawn
    if drawn > motion.max_frames:
        fact = f"A clip of {drawn} drawn frames is longer than the {motion.max_frames} that this model draws."
        raise RequestInvalid(fact, param="frames" if request.drawn is None else "drawn")
    if request.beginning is not None and request.beginning.masked:
        raise FieldUnknown("A clip takes no mask.", param="beginning")
    form = ClipForm(motion, request.frames, drawn, loop=request.loop)
    if engine.facts.reads_prompts:
        if request.prompt is None:
            raise RequestInvalid("This model draws what a prompt says, and none came.", param="prompt")
        return Order(**_checked(engine, request, begun_with), clip=form)
    beginning = _only_beginning(request)
    checked = _checked(engine, request.model_copy(update={"beginning": None}), ())
    return Order(**checked, clip=form, image=_pictures(request, beginning, begun_with)[0][0])


def _only_beginning(request: AnimateRequest) -> Beginning:
    """Of clips that are told a picture and nothing else; raises FieldUnknown for all that would do nothing."""
    beginning = request.beginning
    if beginning is None:
        fact = "This model draws how a picture goes on, and none came to begin with."
        raise RequestInvalid(fact, param="beginning")
    ineffective = {
        "prompt": request.prompt is not None,
        "negative_prompt": request.negative_prompt is not None,
        "loop": request.loop,
        "strength": beginning.strength != 1,
    }
    for param, is_stated in ineffective.items():
        if is_stated:
            raise FieldUnknown(f"{param} has no effect: this model is told a picture, and nothing else.", param=param)
    return beginning


def _checked(engine: Engine, request: DrawRequest | AnimateRequest, begun_with: Sequence[Frames]) -> dict[str, Any]:
    """What an order for pictures and one for clips have in common."""
    facts = engine.facts
    if request.size not in facts.sizes:
        sizes = ", ".join(str(size) for size in facts.sizes)
        raise SizeUnsupported(f"{request.size} is not drawn by this model; it draws {sizes}.", param="size")
    if request.steps not in engine.tables:
        raise RequestInvalid(f"steps is {request.steps}; this model takes 1-{facts.max_steps}.", param="steps")
    one_row = request.guidance_scale == 1 or facts.embeds_guidance
    if request.negative_prompt is not None and one_row:
        why = "on this model, which has guidance built in" if facts.embeds_guidance else "with guidance_scale 1"
        raise FieldUnknown(f"negative_prompt has no effect {why}.", param="negative_prompt")
    if request.preview_steps and engine.preview is None:
        raise FieldUnknown("preview_steps has no effect: this model has no previews.", param="preview_steps")
    negative = None if one_row else engine.conditioner.ids(request.negative_prompt or "", "negative_prompt")
    return {
        "positive": engine.conditioner.ids(request.prompt or ""),
        "negative": negative,
        "size": request.size,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "seed": request.seed,
        "count": request.count,
        "preview_steps": request.preview_steps,
        "max_previews": request.max_previews,
        "first": None if request.beginning is None else _first(engine, request, request.beginning, begun_with),
    }


def _first(
    engine: Engine, request: DrawRequest | AnimateRequest, beginning: Beginning, begun_with: Sequence[Frames]
) -> FirstPicture:
    """The picture that the request begins with; raises FieldUnknown or RequestInvalid."""
    if engine.encoder is None:
        raise FieldUnknown("beginning has no effect: this bundle has no encoder.", param="beginning")
    pictures = _pictures(request, beginning, begun_with)
    made = int(request.steps * beginning.strength)
    if not made:
        fact = f"strength {beginning.strength:g} of {request.steps} steps is less than one step."
        raise RequestInvalid(fact, param="strength")
    mask = pictures[1][0, :, :, 0] >= 128 if beginning.masked else None
    return FirstPicture(pictures[0][0], mask, request.steps - made)


def _pictures(
    request: DrawRequest | AnimateRequest, beginning: Beginning, begun_with: Sequence[Frames]
) -> Sequence[Frames]:
    """Those that came, if they are what was announced; raises RequestInvalid."""
    size = (1, request.size.height, request.size.width, 3)
    if [picture.shape for picture in begun_with] != [size] * (2 if beginning.masked else 1):
        raise RequestInvalid(f"The pictures to begin with must be {request.size}, as announced.", param="beginning")
    return begun_with
