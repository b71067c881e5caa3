"""The fence: a slot that a former owner of the gateways' queue granted is refused once a later owner's has been seen.

Of several gateways one owns the queue, in an epoch that grows with every change of hands, and each drawing states the
epoch of its grant (`Bowerbird-Grant: <queue>:<epoch>`). A gateway that was paused and goes on as if it still owned the
queue is told so here, before anything is computed (Kleppmann, "How to do distributed locking", 2016: fencing tokens).
A request without the header, of a gateway that is alone, passes.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from bowerbird.contracts import GRANT_HEADER
from bowerbird.errors import GrantStale, RequestInvalid

MAX_QUEUES = 64
"""Queues that are remembered: one for each database whose gateways draw here, in practice one or two."""

_GRANT = re.compile(r"([0-9a-f]{1,64}):([0-9]{1,18})")


class Fence:
    """The latest epoch of each queue; for one event loop."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[str, int] = OrderedDict()

    def pass_through(self, headers: Mapping[str, str]) -> None:
        """Raises GrantStale for a grant of an epoch before the latest, RequestInvalid for a header that is none."""
        stated = headers.get(GRANT_HEADER)
        if stated is None:
            return
        match = _GRANT.fullmatch(stated)
        if match is None:
            raise RequestInvalid("Bowerbird-Grant must be <queue>:<epoch>.", param="Bowerbird-Grant")
        queue, epoch = match[1], int(match[2])
        latest = self._epochs.get(queue, epoch)
        if epoch < latest:
            raise GrantStale(f"The slot was granted in epoch {epoch}; the queue's owner is that of epoch {latest}.")
        self._epochs[queue] = epoch
        self._epochs.move_to_end(queue)
        if len(self._epochs) > MAX_QUEUES:
            self._epochs.popitem(last=False)
