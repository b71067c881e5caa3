"""Token ids as the hidden states that the denoiser attends to, each computed once.

Encoding is 1-3 % of a picture, but the empty negative prompt of every guided request is always the same one, and the
candidates of a request all share a prompt: the cache answers both. The key is (encoder digest, token ids), so that a
cache could be shared by several bundles and never confuses two.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from bowerbird.engine.backend import Floats, Ids, Session

CACHED_PROMPTS = 256


class TextEncoder:
    """Hidden states by token ids; keeps the last `capacity` (77 x 768 float32 are 0.24 MB each)."""

    def __init__(self, session: Session, digest: str, capacity: int = CACHED_PROMPTS) -> None:
        self._session = session
        self._digest = digest
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, bytes], Floats] = OrderedDict()
        self._lock = threading.Lock()
        self.encoded = 0

    def states(self, ids: Ids) -> Floats:
        """float32 `[length, width]` for int64 `[length]`."""
        key = (self._digest, ids.tobytes())
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        states: Floats = self._session.run({"token_ids": ids[None]})["states"][0]
        states.setflags(write=False)
        with self._lock:
            self.encoded += 1
            self._known[key] = states
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return states
