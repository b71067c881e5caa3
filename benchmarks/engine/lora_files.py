"""Three LoRAs with seeded random numbers that fit a bundle, and the same as the peers' sessions take them.

The peers get what is the hard part, one graph that serves any LoRA from banks: the arrays that our banks hold and the
slots of each file, written once for all of them. Otherwise each would need a session for each LoRA.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bowerbird.engine.backends.cpu import CpuBackend, host_feeds
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.lora.banks import LoraBanks
from bowerbird.engine.lora.shelf import LoraShelf

IDS = ("feathers", "ink", "dusk")
RANK = 8
ROLE = "denoiser"


def write_loras(folder: Path, bundle: Bundle) -> tuple[str, ...]:
    """Files with PEFT's keys for every layer of the denoiser's banks; their ids, none when it was compiled without."""
    banks = bundle.manifest.lora.get(ROLE, [])
    prefix = bundle.part(ROLE).component
    for index, name in enumerate(IDS if banks else ()):
        rng = np.random.default_rng(index)
        tensors = {}
        for bank in banks:
            for module in bank.modules:
                down = rng.standard_normal((RANK, bank.in_features)).astype(np.float32)
                up = rng.standard_normal((bank.out_features, RANK)).astype(np.float32)
                tensors[f"{prefix}.{module}.lora_A.weight"] = down / np.float32(np.sqrt(bank.in_features))
                tensors[f"{prefix}.{module}.lora_B.weight"] = up * np.float32(0.02)
        save_file(tensors, folder / f"{name}.safetensors")
    return IDS if banks else ()


def write_lora_feeds(folder: Path, bundle: Bundle, loras: Path) -> None:
    """`banks.npz` and `rows.json`, which `contenders/sessions.py` reads."""
    shelf, banks = LoraShelf(loras, bundle), LoraBanks(bundle, CpuBackend(threads=1), len(IDS))
    rows = {name: banks.acquire([(shelf.find(name), 1.0)]) for name in IDS}
    by_row = {name: host_feeds(banks.inputs(ROLE, [row])) for name, row in rows.items()}
    shared = {name: value for name, value in by_row[IDS[0]].items() if name not in {"lora_slots", "lora_weights"}}
    np.savez(folder / "banks.npz", **shared)
    facts = {
        name: {"slots": feeds["lora_slots"][0].tolist(), "weights": feeds["lora_weights"][0].tolist()}
        for name, feeds in by_row.items()
    }
    (folder / "rows.json").write_text(json.dumps(facts))
