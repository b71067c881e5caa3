"""What the engine counts; served on `/metrics` of whichever process draws."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from bowerbird.telemetry import SECONDS_BUCKETS

STEP_SECONDS = Histogram(
    "bowerbird_step_seconds", "One denoiser call, whatever its batch, by rows.", ["rows"], buckets=SECONDS_BUCKETS
)
STEPS = Counter("bowerbird_steps_total", "Denoise steps of pictures; a batch of four counts four.")
WASTED_STEPS = Counter(
    "bowerbird_wasted_steps_total", "Pieces of work (a step or a decoded frame) that were computed for nobody."
)
COLD_START_SECONDS = Histogram(
    "bowerbird_cold_start_seconds", "From opening a bundle to the first drawing, by phase.", ["phase"],
    buckets=SECONDS_BUCKETS,
)  # fmt: skip
