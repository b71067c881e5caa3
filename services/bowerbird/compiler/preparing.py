"""Getting a bundle ready for a runtime on this machine, so that its first start there is a short one.

A bundle is the same for all runtimes; what is prepared depends on runtime, instruction set or GPU, and goes to the
cache that the services read (`BOWERBIRD_CACHE`), never into the bundle. So `bowerbird compile --backend …` needs no
such runtime: where one is missing it compiles all the same and says what is left (`open_backends`), and
`bowerbird prepare`, which needs no torch, does that where the bundle is served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bowerbird.engine.backend import Backend, computes_in_half, open_backend
from bowerbird.engine.bundle import Bundle, is_denoiser
from bowerbird.errors import BackendMissing
from bowerbird.settings import Settings

LEFT: Mapping[str, str] = {
    "cpu": "the first start there packs the weights for its CPU and keeps them, which takes seconds",
    "openvino": "the first start there compiles the graphs and keeps them, which takes seconds to a minute",
    "cuda": "nothing is kept for it: each start captures its CUDA graphs",
    "tensorrt": "no start builds engines; `bowerbird prepare BUNDLE --backend tensorrt` does, on that kind of GPU",
}
"""What is still to be done for a backend that was not here when the bundle was compiled."""


def open_backends(names: Sequence[str], *, required: bool = True) -> tuple[list[Backend], list[str]]:
    """The backends, and in words what is left to do for those that are not here.

    Raises BackendMissing when one is `required` and is not here.
    """
    settings = Settings()
    found, missing = [], []
    for name in names:
        try:
            found.append(open_backend(settings.model_copy(update={"backend": name})))
        except BackendMissing as error:
            if required:
                raise
            missing.append(f"{name} is not here ({error.message.rstrip('.')}); {LEFT[name]}")
    return found, missing


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
            backend.load(graph, rowwise=is_denoiser(role), key=bundle.part_digest(role))
