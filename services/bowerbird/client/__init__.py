"""The Python client: `Client` and `AsyncClient` for a running gateway, with pictures as bytes and errors as facts.

Nobody needs it (any OpenAI client draws); it adds what OpenAI's cannot say: seeds, scores, steps, the trace id and the
time by stage, and what takes patience: places in the queue, jobs, retries, streams that go on after a broken line.
`bowerbird draw`, administration and the self-check of `bowerbird up` use it.

    with Client() as bowerbird:
        [drawing] = bowerbird.draw("a blue jay in spring", seed=7)
    Path("jay.png").write_bytes(drawing.image)

    calls, and a file for each subject   what is asked and how an answer is read; no network
    retrying, following                  what is sent again, and what of a stream is news
    connection                           what both clients say to httpx2
    sync_client, async_client, rooms     the clients

HTTP is httpx2: one library for both worlds, the one that `openai` 3.x brings along already, and the maintained
successor of httpx, which is not developed any more. (The gateway itself calls its stages otherwise: thousands of
requests a second are its trade, not a client's.)
"""

from __future__ import annotations

from bowerbird.client.async_client import AsyncClient
from bowerbird.client.batches import Batch, StoredFile
from bowerbird.client.calls import Page
from bowerbird.client.connection import GatewayUnreachable
from bowerbird.client.feedback import Feedback, Usage
from bowerbird.client.following import ConnectionLost
from bowerbird.client.jobs import Job, JobEvent
from bowerbird.client.models import Lora, Model
from bowerbird.client.pictures import Answer, Drawing, DrawOptions, EditOptions, Preview
from bowerbird.client.provenance import Moderation, ProvenanceCheck
from bowerbird.client.sync_client import Client
from bowerbird.client.videos import Clip, ClipOptions, Video
from bowerbird.client.webhooks import WebhookEndpoint

__all__ = [
    "Answer",
    "AsyncClient",
    "Batch",
    "Client",
    "Clip",
    "ClipOptions",
    "ConnectionLost",
    "DrawOptions",
    "Drawing",
    "EditOptions",
    "Feedback",
    "GatewayUnreachable",
    "Job",
    "JobEvent",
    "Lora",
    "Model",
    "Moderation",
    "Page",
    "Preview",
    "ProvenanceCheck",
    "StoredFile",
    "Usage",
    "Video",
    "WebhookEndpoint",
]
