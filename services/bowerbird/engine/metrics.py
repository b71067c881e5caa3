"""What the engine counts; served on `/metrics` of whichever process draws."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from bowerbird.telemetry import SECONDS_BUCKETS

STEP_SECONDS = Histogram(
    "bowerbird_step_seconds", "One denoiser call, whatever its batch, by rows.", ["rows"], buckets=SECONDS_BUCKETS
)
STEPS = Counter("bowerbird_steps_total", "Denoise steps of pictures; a batch of four counts four.")
WASTED_STEPS = Counter(
    "bowerbird_wasted_steps_total", "Pieces of work (a step or a decoded frame) that were computed for nobody."
)
REFUSED_LATE = Counter(
    "bowerbird_refused_late_total", "Requests given up before their deadline, because they could not have met it."
)
RETRIED_BATCHES = Counter(
    "bowerbird_retried_batches_total", "Batches that the runtime gave up on, computed again one by one.", ["stage"]
)
OUT_OF_MEMORY = Counter("bowerbird_out_of_memory_total", "Batches for which the device had no memory.")
BATCH_CEILING = Gauge(
    "bowerbird_batch_ceiling_rows",
    "Rows that a batch may have now; halved when the device had no memory for one, doubled when it had for many.",
)
COMPUTE_UNIT_SECONDS = Gauge(
    "bowerbird_compute_unit_seconds", "One row of one step of the model's first size, as measured at start."
)
COLD_START_SECONDS = Histogram(
    "bowerbird_cold_start_seconds", "From opening a bundle to the first drawing, by phase.", ["phase"],
    buckets=SECONDS_BUCKETS,
)  # fmt: skip
