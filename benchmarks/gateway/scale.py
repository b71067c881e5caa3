"""What a run is given. A whole run takes its time; a small one shows within seconds that every line works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of a run."""

    small: bool = False
    rounds: int = 5
    """Of each figure that is a median."""
    requests: int = 4_000
    """Of one round where CPU is measured: enough for a second of it."""
    most_requests: int = 100_000
    """Over which memory must stay flat; the whole proof takes a million."""
    streams: int = 2_000
    load_seconds: float = 30.0
    """Of one trace where latency or fairness is measured."""

    @classmethod
    def smallest(cls) -> Scale:
        """Shows that everything works, and measures nothing."""
        return cls(small=True, rounds=1, requests=20, most_requests=200, streams=10, load_seconds=2.0)
