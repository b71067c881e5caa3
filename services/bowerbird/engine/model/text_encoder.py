"""Token ids as the hidden states that the denoiser attends to, each computed once.

Encoding is 1-3 % of a picture, but the empty negative prompt of every guided request is always the same one, and the
candidates of a request all share a prompt: the cache answers both. The key is (encoder digest, token ids, LoRA), so
that a cache could be shared by several bundles and never confuses two.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

from bowerbird.engine.backend import Floats, Ids, Input, Session
from bowerbird.errors import BundleInvalid

CACHED_PROMPTS = 256

Encoded = Mapping[str, Floats]
"""By output port, without the batch: `states` [length, width] and, of some encoders, `pooled` [width]. Read-only."""

LoraKey = tuple[tuple[str, float], ...]
"""(digest, weight) of every LoRA that changes the encoder's weights."""


class TextEncoder:
    """One text encoder; keeps the last `capacity` answers (77 x 768 float32 are 0.24 MB each)."""

    def __init__(
        self,
        session: Session,
        digest: str,
        capacity: int = CACHED_PROMPTS,
        load_with_lora: Callable[[], Session] | None = None,
    ) -> None:
        """`load_with_lora` loads the graph that takes LoRA banks; it is called when the first such prompt comes."""
        self._session = session
        self._digest = digest
        self._capacity = capacity
        self._load_with_lora = load_with_lora
        self._session_with_lora: Session | None = None
        self._known: OrderedDict[tuple[str, bytes, LoraKey], Encoded] = OrderedDict()
        self._lock = threading.Lock()
        self.encoded = 0

    def encode(
        self, ids: Ids, lora: LoraKey = (), lora_inputs: Callable[[], Mapping[str, Input]] | None = None
    ) -> Encoded:
        """The answer for int64 `[length]`.

        `lora` names what `lora_inputs` holds, the graph's LoRA inputs for one row; they are asked for only when the
        answer is not known yet.
        """
        key = (self._digest, ids.tobytes(), lora)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        session = self._session if lora_inputs is None else self._with_lora()
        answer = session.run({"token_ids": ids[None], **(lora_inputs() if lora_inputs else {})})
        encoded = {port: value[0] for port, value in answer.items()}
        for value in encoded.values():
            value.setflags(write=False)
        with self._lock:
            self.encoded += 1
            self._known[key] = encoded
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return encoded

    def _with_lora(self) -> Session:
        with self._lock:
            if self._session_with_lora is None:
                if self._load_with_lora is None:
                    raise BundleInvalid("This text encoder was compiled without LoRA.")
                self._session_with_lora = self._load_with_lora()
            return self._session_with_lora

    def states(self, ids: Ids) -> Floats:
        """float32 `[length, width]` for int64 `[length]`."""
        return self.encode(ids)["states"]
