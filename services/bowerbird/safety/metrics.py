"""Metrics of the safety service; labels are names from the policy, never anything of a prompt.

BentoML's `/metrics` serves them. `prometheus_client` is imported with this module, after BentoML has chosen where
several workers share their counters; `service.py` therefore imports the pipelines only when it starts.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

# Text gates take 20 us to a few ms, the image gate tens of ms: the project's buckets start where these end.
GATE_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

GATE_SECONDS = Histogram(
    "bowerbird_safety_gate_seconds", "Time of one gate on one text or frame", ["gate"], buckets=GATE_BUCKETS
)
DECISIONS = Counter("bowerbird_safety_decisions", "Decisions by what follows", ["stage", "action"])
