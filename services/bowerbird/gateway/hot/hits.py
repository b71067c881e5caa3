"""The answers that were given from stored pictures, by a keyed digest of the request, so that the next is the same.

The ordinary way teaches it (`learn`), each time it gave what was stored; `find` says what the same request may be given
again. The same is: the same bytes of the body, the same tenant and language. What it would become is then known, and
what could have changed since is compared: the model, curation, the tenant's tier, the stored pictures themselves.

**A hit passes the current policy.** Ordinarily safety is asked about every prompt. Here it is not asked again about a
text that it has allowed, as long as it decides by what it decided by then. That is sound, because a decision depends on
the texts, the policy and the software only (`safety.pipeline`: it is replayable); and the present policy and software
are what safety itself has announced, not what the gateway remembers. The announcement is believed for two seconds
(`stages.POLICY_BELIEVED_SECONDS`, which is also how long a request may be on its way that was checked before a
change), and not at all once safety was found away or not ready: then it is asked, and no answer means no. Only a plain
`allow` is remembered, nothing that was redacted or flagged, and never a person in danger. What is drawn anew is always
decided by safety itself.

No text is kept: the name is a keyed hash (BLAKE2b, https://www.rfc-editor.org/rfc/rfc7693, with a secret of this
process). An answer may name the caller's end user, so that an erasure empties it all. What is kept is bounded.
"""

from __future__ import annotations

import secrets
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from bowerbird.contracts import Action, CurationDescription, ModelDescription, SafetyDescription
from bowerbird.gateway.hot.template import Template
from bowerbird.gateway.hot.visit import header_lines
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.results.memory import Remembered
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.results import Results
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage

if TYPE_CHECKING:
    from bowerbird.gateway.api.image_drawing import Drawing

ASKED = "bowerbird.asked"
"""In an ASGI scope: by what name a request would be found here."""
MAX_BYTES = 16 * 1024 * 1024
ENTRY_BYTES = 3_000
"""Of an entry beside its template; generous."""
DIGEST_BYTES = 32
OWN_HEADERS = frozenset({"Server-Timing"})
"""That every answer has of its own."""


class Conditions(NamedTuple):
    """What an answer depends on beside the request; compared each time."""

    model: ModelDescription
    curation: CurationDescription
    safety: SafetyDescription
    principal: Principal

    def are_of(self, drawing: Drawing) -> bool:
        """Whether this was so when the drawing was found: each may have changed while it was under way."""
        policy, version = drawing.told.allowed.decision.policy, drawing.call.versions.get(Stage.SAFETY)
        return (policy, version, drawing.plan.model) == (self.safety.policy, self.safety.version, self.model)


@dataclass(frozen=True, slots=True)
class Hit:
    """How a request was answered from what is stored."""

    name: str
    """Of the result, in memory."""
    any_seed: bool
    result: weakref.ref[Result]
    """It is `results.memory` that keeps it, within its bound."""
    conditions: Conditions
    template: Template
    header_lines: bytes
    """As they are written; all but those that every answer has of its own."""
    entity_tag: str
    usage: UsageEntry
    """As of the request that it was learnt from."""

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return self.template.size_bytes + ENTRY_BYTES


class Hits:
    """Of one gateway process."""

    def __init__(self, results: Results, stages: Stages, max_bytes: int = MAX_BYTES) -> None:
        self._results = results
        self._stages = stages
        self._max_bytes = max_bytes
        self._secret = secrets.token_bytes(blake2b.MAX_KEY_SIZE)
        self._hits: OrderedDict[bytes, Hit] = OrderedDict()
        self._bytes = 0
        results.on_forget = self.forget

    @property
    def size_bytes(self) -> int:
        """What it keeps."""
        return self._bytes

    def name(self, principal: Principal, language: bytes, body: bytes) -> bytes:
        """What this request is known by here."""
        text = b"\0".join((principal.tenant.encode(), language, body))
        return blake2b(text, digest_size=DIGEST_BYTES, key=self._secret).digest()

    def find(self, name: bytes, principal: Principal) -> tuple[Hit, Remembered] | None:
        """How it was answered, and what with, where it may be answered so now."""
        hit = self._hits.get(name)
        if hit is None:
            return None
        remembered = self._results.remembered(hit.name)
        if remembered is None or remembered.result is not hit.result() or self._conditions(principal) != hit.conditions:
            return None
        self._hits.move_to_end(name)
        return hit, remembered

    def learn(self, name: bytes, principal: Principal, drawing: Drawing, usage: UsageEntry) -> None:
        """Remembers how the request of this name was answered, if it was from what is stored and beyond doubt."""
        told, plan = drawing.told, drawing.plan
        if told.source is not Source.STORED or told.allowed.decision.action is not Action.ALLOW:
            return
        if plan.lora or plan.original is not None or plan.species is not None:
            return  # something else would have to be asked
        conditions = self._conditions(principal)
        if conditions is None or not conditions.are_of(drawing):
            return
        headers = (
            (each.lower().encode("latin-1"), value.encode("latin-1"))
            for each, value in drawing.headers.items()
            if each not in OWN_HEADERS
        )
        hit = Hit(
            name=told.name,
            any_seed=plan.lookup is Lookup.ANY,
            result=weakref.ref(told.result),
            conditions=conditions,
            template=Template.of(drawing.body),
            header_lines=header_lines(headers),
            entity_tag=drawing.headers["ETag"],
            usage=usage,
        )
        self._forget(name)
        self._hits[name] = hit
        self._bytes += hit.size_bytes
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._hits)))

    def forget(self) -> None:
        """Forgets everything."""
        self._hits.clear()
        self._bytes = 0

    def _conditions(self, principal: Principal) -> Conditions | None:
        """What holds now; None where safety or curation have not said what they go by."""
        stages = self._stages
        safety, curation = stages.safety(), stages.curation
        return None if safety is None or curation is None else Conditions(stages.model(), curation, safety, principal)

    def _forget(self, name: bytes) -> None:
        hit = self._hits.pop(name, None)
        if hit is not None:
            self._bytes -= hit.size_bytes
