"""What curation counts; served on `/metrics` of its process."""

from __future__ import annotations

from prometheus_client import Histogram

SCORES = Histogram(
    "bowerbird_score",
    "Values of curation's scores, each on its own scale.",
    ["name"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1, 2, 5, 10, 20, 50, 100),
)
PUBLISH_SECONDS = Histogram(
    "bowerbird_publish_seconds",
    "Time to publish one picture, by phase (encode, sign, verify) and format.",
    ["phase", "format"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
