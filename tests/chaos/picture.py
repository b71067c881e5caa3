"""What a picture itself says: its label, and its pixels.

Read with the libraries that the world reads with (c2pa, Pillow), not with the code that wrote it.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from dataclasses import dataclass
from functools import cache

import c2pa
from PIL import Image

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
ORIGIN = "org.bowerbird.origin"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as its receiver sees it."""

    digest: str
    """SHA-256 of the file."""
    pixels: str
    """SHA-256 of what it shows: the same for the same recipe, however often it is drawn, labelled and encoded."""
    format: str
    size: str
    intact: bool
    """Its manifest's signature is right, and it is the file that was signed."""
    request_id: str | None
    seed_digest: str | None
    model_digest: str | None

    def is_labelled_for(self, seed: int) -> bool:
        """Whether its label names this seed: keyed with the id of the request that drew it."""
        if self.request_id is None:
            return False
        wanted = hmac.new(self.request_id.encode(), str(seed).encode(), hashlib.sha256).hexdigest()
        return self.seed_digest == f"sha256:{wanted}"


def read_picture(file: bytes) -> Picture:
    """What the file says and shows; raises what Pillow raises for a file that is no picture."""
    with Image.open(io.BytesIO(file)) as image:
        kind = (image.format or "").lower()
        pixels = hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
        size = f"{image.width}x{image.height}"
    origin, intact = _label(file, MEDIA_TYPES[kind])
    return Picture(
        digest=hashlib.sha256(file).hexdigest(),
        pixels=pixels,
        format=kind,
        size=size,
        intact=intact,
        request_id=origin.get("request_id"),
        seed_digest=origin.get("seed_digest"),
        model_digest=origin.get("model_digest"),
    )


def _label(file: bytes, media_type: str) -> tuple[dict[str, str], bool]:
    reader = c2pa.Reader.try_create(media_type, io.BytesIO(file), context=_reading())
    if reader is None:
        return {}, False
    with reader:
        report = json.loads(reader.json())
    manifest = report["manifests"][report["active_manifest"]]
    origin: dict[str, str] = next((each["data"] for each in manifest["assertions"] if each["label"] == ORIGIN), {})
    return origin, report.get("validation_state") in ("Valid", "Trusted")


@cache
def _reading() -> c2pa.Context:
    """Asks nobody in the network."""
    return c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
