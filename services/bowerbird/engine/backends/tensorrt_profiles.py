"""Which shapes TensorRT builds engines for, and with which options: data, readable without a GPU.

An engine is built for exactly one shape (min = opt = max): engines with ranges are 13-30 % slower, and a shape outside
of every range would make ONNX Runtime build for minutes in the middle of a request. The shapes are all there can be:
the sizes of the bundle (others are refused at admission, SizeUnsupported), batches in buckets, LoRA banks of two ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from bowerbird.contracts import MAX_LORAS, Size
from bowerbird.engine.backends.cuda import CUDA
from bowerbird.engine.backends.cuda import OPTIONS as CUDA_OPTIONS
from bowerbird.engine.backends.onnx_runtime import Provider
from bowerbird.engine.bundle import Manifest, PartFacts, Port, is_denoiser
from bowerbird.errors import BundleInvalid

TENSORRT = "TensorrtExecutionProvider"
CONTEXT = "engine.onnx"
ROWS = (1, 2, 4, 8)
"""Batches of the denoiser. Each is an engine with weights of its own, so fewer than CUDA's graphs."""
RANKS = (16, 64)
"""Ranks that `lora.banks` pads to for this backend; 64 is the largest a LoRA may have."""
OPTIONS: Mapping[str, str] = {
    "trt_fp16_enable": "1",
    "trt_layer_norm_fp32_fallback": "1",  # its sum of squares overflows in fp16: black pictures
    "trt_builder_optimization_level": "3",  # TensorRT's default; 5 builds several times longer for a few per cent
    "trt_context_memory_sharing_enable": "1",  # engines run one at a time: one scratch memory is enough for all
    "trt_timing_cache_enable": "1",  # what one engine learned of the GPU's kernels, the next need not time again
    "trt_ep_context_embed_mode": "0",  # the engine beside the context, not in it: protobuf ends at 2 GB
}


@dataclass(frozen=True, slots=True)
class Profile:
    """The shape of every input, in the graph's order."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    def __str__(self) -> str:
        """As ONNX Runtime reads it: `sample:2x4x64x64,timestep:2`."""
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in self.shapes)

    @property
    def rows(self) -> int:
        """The batch."""
        return self.shapes[0][1][0]


def profiles_of(manifest: Manifest, role: str, lora_slots: int) -> list[Profile]:
    """All shapes that this part will ever be run with; raises BundleInvalid for a free dimension of unknown name."""
    part = manifest.parts[role]
    sizes: Sequence[Size | None] = manifest.drawing.sizes if manifest.drawing and _has_sizes(part) else [None]
    ranks = RANKS if any(port.name.startswith("lora_") for port in part.inputs) else RANKS[:1]
    downscale = manifest.drawing.latents.downscale if manifest.drawing else 1
    profiles = []
    for rows, size, rank in product(ROWS if is_denoiser(role) else ROWS[:1], sizes, ranks):
        free = {"batch": rows, "loras": MAX_LORAS, "slots": lora_slots + 1, "rank": rank}
        if size is not None:
            free |= {"picture_height": size.height, "picture_width": size.width}
            free |= {"height": size.height // downscale, "width": size.width // downscale}
        profiles.append(Profile(tuple((port.name, _shape(role, port, free)) for port in part.inputs)))
    return profiles


def providers_for(profile: Profile, *, timing: str, capture: bool, context: str | None) -> list[Provider]:
    """TensorRT's options for one shape, then CUDA's for what TensorRT leaves over; the CPU is not listed.

    With `context`, a path, the engine is built and written beside it.
    """
    shapes = str(profile)
    options = {
        **OPTIONS,
        "trt_profile_min_shapes": shapes,
        "trt_profile_opt_shapes": shapes,
        "trt_profile_max_shapes": shapes,
        "trt_timing_cache_path": timing,
        "trt_cuda_graph_enable": "1" if capture else "0",
    }
    if context is not None:
        # Relative to the context's folder: ONNX Runtime refuses an absolute path, since a context can be foreign.
        options |= {
            "trt_dump_ep_context_model": "1",
            "trt_ep_context_file_path": context,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": ".",
        }
    return [(TENSORRT, options), (CUDA, CUDA_OPTIONS)]


def _has_sizes(part: PartFacts) -> bool:
    return any(
        isinstance(each, str) and each.endswith(("height", "width")) for port in part.inputs for each in port.shape
    )


def _shape(role: str, port: Port, free: Mapping[str, int]) -> tuple[int, ...]:
    unknown = [each for each in port.shape if isinstance(each, str) and each not in free]
    if unknown:
        raise BundleInvalid(
            f"{role} leaves {', '.join(map(str, unknown))} of {port.name} free; TensorRT needs a number."
        )
    return tuple(free[each] if isinstance(each, str) else each for each in port.shape)
