"""Getting a bundle ready for a runtime on this machine, so that its first start there is a short one.

`bowerbird compile --backend …` calls `open_backends` before anything long begins, so that a runtime that is missing is
known at once, and `prepare` when the bundle is sealed. What is prepared depends on runtime, instruction set or GPU: it
goes to the cache that the services read (`BOWERBIRD_CACHE`), never into the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bowerbird.engine.backend import Backend, computes_in_half, open_backend
from bowerbird.engine.bundle import Bundle
from bowerbird.settings import Settings


def open_backends(names: Sequence[str]) -> list[Backend]:
    """Raises BackendMissing when one is not here."""
    settings = Settings()
    return [open_backend(settings.model_copy(update={"backend": name})) for name in names]


def prepare(bundle: Bundle, backends: Sequence[Backend], report: Callable[[str], None]) -> None:
    """Fills the cache; a backend that takes minutes for it has a way of its own."""
    for backend in backends:
        own: Any = getattr(backend, "prepare", None)
        if own is not None:
            own(bundle, report)
            continue
        for role in bundle.manifest.parts:
            report(f"{role}: preparing for {backend.name}")
            graph = bundle.graph(role, half=computes_in_half(backend))
            backend.load(graph, rowwise=role.startswith("denoiser"), key=bundle.part_digest(role))
