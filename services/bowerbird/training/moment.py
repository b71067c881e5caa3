"""What moves in a clip, at one moment of it, as plain data: `Moment`. At rest it is the still picture.

Read by `drawing`, `bird` and `scenery`; made by `clips`. What a bird does with its wings and head stands in the scene
(`wing`, `nod`, `turn`); here is the rest: where it is, how far it has taken to the air, and what wind and gravity do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Moment:
    """One moment.

    `flight` is how far the bird's posture has gone from its pose (0) to flight (1). `move` is where it is, from where
    it sat, in fractions of the picture's side (x forwards, y down), `size` what its own is multiplied by. `lean` turns
    its body in degrees (negative is head up). `crouch` is the share of its legs that it has bent away, `blink` of its
    eyes that is closed. `sway` is how far the branch's tip hangs below its place, in fractions of the picture's side;
    what sits on it goes along. `fall` is how far snow and leaves have come on their way round, 0 to 1; None leaves them
    where stills have them.
    """

    flight: float = 0.0
    move: tuple[float, float] = (0.0, 0.0)
    size: float = 1.0
    lean: float = 0.0
    crouch: float = 0.0
    blink: float = 0.0
    sway: float = 0.0
    fall: float | None = None


AT_REST: Final = Moment()
