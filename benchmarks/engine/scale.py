"""What a run is given. A whole run takes its time; a small one shows within seconds that every line works."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of a run; `bundle` is drawn with where a row does not name another model."""

    bundle: Path
    small: bool = False
    rounds: int = 5
    """Turns of each contender; the figure is their median."""
    load_seconds: float = 60.0
    """Length of one trace of C6; twice as long where it asks for more than can be had."""
    run_seconds: float = math.inf
    """What a run may take of a row that is measured in slices."""

    @property
    def pictures(self) -> int:
        """Pictures of one turn where throughput is measured."""
        return 3 if self.small else 12
