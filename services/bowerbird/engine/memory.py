"""Whether a bundle fits: refused by name and size before a graph is loaded, not by the kernel in the middle of one.

`opening` calls `refuse_too_large` between the digests and the graphs. The estimate, in bytes:

    weights   numbers of the component of each part that is loaded x `number_bytes` of the backend (where LoRAs are
              taken, the part with LoRA counts again: it is a session of its own), and a tenth more for the runtime's
              graphs and staging
    working   2 x 3 x channels x height x width x `number_bytes`: three tensors of the decoder's last but one stage at
              the largest size, for each frame that is decoded together, and once for the denoiser
    banks     where LoRAs are taken, their slots at the rank that warming up makes room for (`lora.banks.bank_bytes`)

It is there to refuse what cannot fit and errs to the small side; a run that does not fit after all is OutOfMemory, and
the scheduler answers it with smaller batches.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from bowerbird.engine.backend import Backend, computes_in_half
from bowerbird.engine.bundle import IMAGE_ENCODER, MOTION, TEXT_ENCODERS, WEIGHTS, Bundle
from bowerbird.engine.lora.banks import bank_bytes
from bowerbird.errors import BundleInvalid, BundleTooLarge

CGROUPS = Path("/sys/fs/cgroup")
LOADED = (*TEXT_ENCODERS, IMAGE_ENCODER, "denoiser", MOTION, "decoder", "encoder", "preview")
"""What `Engine` loads of a bundle."""
USUAL_CHANNELS = 256
"""Of Stable Diffusion's decoder where it is widest at full size; taken where a config does not say."""


@dataclass(frozen=True, slots=True)
class LoraRoom:
    """The LoRAs that are kept ready, and the rank that there will be room for."""

    slots: int
    rank: int


def refuse_too_large(bundle: Bundle, backend: Backend, loras: LoraRoom | None = None) -> None:
    """Raises BundleTooLarge when the estimate exceeds `backend.memory_bytes`; a budget of 0 is not known, and no bound.

    `loras` is None where none are taken. Raises BundleInvalid when the header of the weights cannot be read.
    """
    banks = 0 if loras is None else bank_bytes(bundle, backend, loras.slots, loras.rank)
    half = computes_in_half(backend)
    needed = needed_bytes(bundle, backend.number_bytes, with_lora=loras is not None, half=half) + banks
    if 0 < backend.memory_bytes < needed:
        manifest = bundle.manifest
        room = ""
        if loras is not None:
            room = f", {_mebibytes(banks)} of it for {loras.slots} LoRAs of rank {loras.rank} (BOWERBIRD_LORA_SLOTS)"
        raise BundleTooLarge(
            f"{manifest.name} {manifest.version} needs about {_mebibytes(needed)} on {backend.name}{room}; it may take "
            f"{_mebibytes(backend.memory_bytes)} (BOWERBIRD_MEMORY_BYTES, or else what is free)."
        )


def needed_bytes(bundle: Bundle, number_bytes: int, *, with_lora: bool = False, half: bool = False) -> int:
    """The estimate of the module's docstring, but for the banks; with `half`, of the graphs in fp16 where there are."""
    numbers = _numbers_by_component(bundle)
    roles = [*LOADED, *(f"{role}_lora" for role in bundle.manifest.lora if with_lora)]
    parts = [part for role, part in bundle.manifest.parts.items() if role in roles]
    weights = sum(numbers[part.component] * (2 if half and part.half else number_bytes) for part in parts)
    working = 0
    if drawing := bundle.manifest.drawing:
        pixels = max(size.width * size.height for size in drawing.sizes)
        together = drawing.motion.decoded_together if drawing.motion else 1
        working = (1 + together) * 3 * _widest(bundle) * pixels * number_bytes
    return weights + weights // 10 + working


def host_memory_bytes(cgroups: Path = CGROUPS) -> int:
    """What this process may still take: what the machine has free, or the container, if that is less (cgroup v2).

    A container's file cache is taken back when it is needed, so it counts as free, as the kubelet counts it. At least
    1: nothing free is not the same as not known.
    """
    free: int = psutil.virtual_memory().available
    group = cgroups / (_own_cgroup() if cgroups == CGROUPS else "")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(cgroups):
            break
        try:
            limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        except (OSError, ValueError):  # the root has no such file, and a group without a limit says "max"
            continue
        free = min(free, limit - used + _reclaimable(folder))
    return max(1, free)


def _own_cgroup() -> str:
    """The path of this process' group below the root; empty where there is no cgroup v2."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")


def _reclaimable(folder: Path) -> int:
    facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(facts.get("inactive_file", 0))


def _numbers_by_component(bundle: Bundle) -> Counter[str]:
    """How many weights each component has; their names begin with the component's: `unet.conv_in.weight`."""
    path = bundle.path(WEIGHTS)
    numbers: Counter[str] = Counter()
    try:
        with safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                numbers[name.partition(".")[0]] += math.prod(weights.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise BundleInvalid(f"{path} has no header of safetensors: {error}") from error
    return numbers


def _widest(bundle: Bundle) -> int:
    """Channels of the decoder's last stage but one, which is upsampled to full size before they shrink."""
    config = bundle.manifest.configs.get(bundle.part("decoder").component, {})
    channels = config.get("decoder_block_out_channels") or config.get("block_out_channels") or []
    return int(channels[1]) if len(channels) > 1 else USUAL_CHANNELS


def _mebibytes(count: int) -> str:
    return f"{math.ceil(count / 2**20)} MiB"
