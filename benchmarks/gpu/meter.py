"""Times, memory and utilisation.

A time is the wall clock's between two moments at which the GPU is idle; utilisation is what nvidia-smi samples (the
share of time in which a kernel ran); GPU-seconds are the wall seconds that the GPU was held.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

MEMORY_FIELDS = "utilization.gpu,memory.used"


@dataclass
class Meter:
    """Measures on one device and knows when its time is up; `most` caps all repetitions, for a trial."""

    device: str
    until: float
    repeats: int = 20
    most: int = 1000

    @property
    def seconds_left(self) -> float:
        """Until everything must be said."""
        return self.until - time.monotonic()

    def settle(self) -> None:
        """Waits until the device is idle."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def times(self, work: Callable[[], object], repeats: int | None = None, warm_ups: int = 1) -> list[float]:
        """Seconds of each call, sorted; fewer than asked when time runs out, at least one."""
        for _ in range(warm_ups):
            work()
        times: list[float] = []
        for _ in range(min(repeats or self.repeats, self.most)):
            self.settle()
            begin = time.perf_counter()
            work()
            self.settle()
            times.append(time.perf_counter() - begin)
            if self.seconds_left < 0:
                break
        return sorted(times)

    def median(self, work: Callable[[], object], repeats: int | None = None) -> float:
        """Median seconds of a call."""
        return statistics.median(self.times(work, repeats))

    def forget(self) -> None:
        """Gives cached memory back and starts the peak anew."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gigabytes(self) -> float | None:
        """Most memory (10**9 bytes) that torch has reserved, CUDA graphs' pools included."""
        return torch.cuda.max_memory_reserved() / 1e9 if self.device == "cuda" else None


@dataclass
class Samples:
    """What nvidia-smi said: utilisation in percent, used memory in MiB."""

    utilisation: list[float] = field(default_factory=list)
    used_mib: list[float] = field(default_factory=list)


@contextmanager
def sampled() -> Iterator[Samples]:
    """Samples every 200 ms while the block runs; stays empty where there is no nvidia-smi."""
    samples, command = Samples(), shutil.which("nvidia-smi")
    if command is None:
        yield samples
        return
    query = [command, f"--query-gpu={MEMORY_FIELDS}", "--format=csv,noheader,nounits", "-lms", "200", "-i", "0"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        try:
            yield samples
        finally:
            process.terminate()
            lines = process.communicate(timeout=10)[0].splitlines()
    for line in lines:
        values = [value.strip() for value in line.split(",")]
        if len(values) == 2 and all(value.replace(".", "").isdigit() for value in values):
            samples.utilisation.append(float(values[0]))
            samples.used_mib.append(float(values[1]))


def gpu_facts() -> dict[str, Any]:
    """What the figures depend on."""
    facts: dict[str, Any] = {"torch": torch.__version__, "gpu": None}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts
