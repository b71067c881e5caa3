"""LitServe around the bundle's ONNX sessions: `python litserve_server.py PORT`.

Worker processes by `workers_per_device`; with PEER_BATCH above 1 LitServe gathers requests for PEER_BATCH_SECONDS, and
those of one size and one LoRA in a batch share denoiser calls (each at its own step), which is the most its batching
can do for mixed work: a batch is answered when its last picture is done.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import litserve as ls
from fastapi import Response
from sessions import Array, Sessions

BATCH = int(os.environ.get("PEER_BATCH", "1"))


class Draw(ls.LitAPI):
    """One worker process."""

    def setup(self, device: str) -> None:
        """Loads the bundle."""
        loras = os.environ.get("PEER_LORAS")
        bundle, threads = Path(os.environ["PEER_BUNDLE"]), int(os.environ["PEER_THREADS"])
        self.sessions = Sessions(bundle, threads, Path(loras) if loras else None)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads the annotation; none means JSON
        """The body as it is."""
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """LitServe would stack arrays; these are requests."""
        return inputs

    def unbatch(self, output: list[Array]) -> list[Array]:
        """One picture for each request."""
        return output

    def predict(self, x: Any) -> Any:
        """One picture, or those of a batch."""
        if isinstance(x, dict):
            return self.sessions.draw(x)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(x):
            alike.setdefault((request["width"], request["height"], request["lora"]), []).append(index)
        pictures: dict[int, Array] = {}
        for indices in alike.values():
            pictures |= dict(zip(indices, self.sessions.draw_together([x[i] for i in indices]), strict=True))
        return [pictures[index] for index in range(len(x))]

    def encode_response(self, output: Array) -> Response:
        """The picture as raw bytes."""
        return Response(content=output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    api = Draw(max_batch_size=BATCH, batch_timeout=float(os.environ.get("PEER_BATCH_SECONDS", "0")), api_path="/draw")
    server = ls.LitServer(
        api, accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"]), timeout=600, track_requests=False
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning", num_api_servers=1
    )
