"""The Python client: `Client` and `AsyncClient` for a running gateway, with pictures as bytes and errors as facts.

Nobody needs it (any OpenAI client draws); it adds what OpenAI's cannot say: seeds, scores, steps, the trace id and the
time by stage. `bowerbird draw` and the self-check of `bowerbird up` use it.

    with Client() as bowerbird:
        [drawing] = bowerbird.draw("a blue jay in spring", seed=7)
    Path("jay.png").write_bytes(drawing.image)

HTTP is httpx2: one library for both worlds, the one that `openai` 3.x brings along already, and the maintained
successor of httpx, which is not developed any more. (The gateway itself calls its stages with aiohttp: thousands of
requests a second are its trade, not a client's.)
"""

from __future__ import annotations

from bowerbird.client.clients import AsyncClient, Client, GatewayUnreachable
from bowerbird.client.values import Answer, Drawing, DrawOptions, Model, ProvenanceCheck

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "DrawOptions",
    "Drawing",
    "GatewayUnreachable",
    "Model",
    "ProvenanceCheck",
]
