"""How often this process looks for garbage that reference counts do not free; called once by `main`, when it serves.

Python's collector looks at everything that lives about each time 70 000 more objects live, beyond a quarter of what
there was. A request that waits is some 230 objects, so that two thousand of them at once had the whole heap looked at
seven times: a quarter of what they cost, more with every further request, and each time all others stood still for up
to a quarter of a second (measured: `tests/unit/gateway/test_garbage.py` counts the looks). What lives here has mostly
come to stay (the app) or goes by its reference count (a request), so:

- What there is when the process begins to serve is never looked at again (`gc.freeze`).
- The youngest objects are looked at as soon as they are FIRST, which is well under a millisecond's work; everything
  only when half a million more live than before. That is more than all requests that may wait by default.
"""

from __future__ import annotations

import gc

FIRST, SECOND, THIRD = 2_000, 10, 25
"""Objects more than were freed, then collections of the generation below; their product is when all are looked at."""


def settle_heap() -> None:
    """Leaves alone what is there now, and looks at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(FIRST, SECOND, THIRD)
