"""One picture, ready to leave: encoded, labelled, signed, and read back.

Called by `service`, in a thread. What cannot be labelled does not leave: every failure between pixels and finished file
is `LabelFailed`, and nothing is returned. The finished file is read back as a stranger would read it (1.7 ms of the
15): only that notices a certificate that expired while the service ran, a trust anchor that does not fit, or a format
whose manifest c2pa writes but does not find again. Comparing digests would notice none of them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from bowerbird.contracts import Origin, OutputFormat, Picture, PolicyReference, PublishRequest
from bowerbird.curation.certificates import SigningIdentity, load_identity
from bowerbird.curation.credentials import Credentials, Ingredient, ManifestUnreadable, Signed, SigningFailed
from bowerbird.curation.encoding import (
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
    MEDIA_TYPES,
    TRAINED_ALGORITHMIC_MEDIA,
    encode,
    enlarge,
)
from bowerbird.curation.manifest import ORIGIN_LABEL, manifest_of
from bowerbird.curation.metrics import PUBLISH_SECONDS
from bowerbird.errors import CertificateInvalid, LabelFailed
from bowerbird.mounted import Followed
from bowerbird.settings import Settings

tracer = trace.get_tracer("bowerbird.curation")


@dataclass(frozen=True, slots=True)
class Work:
    """One file to be: how it is encoded, and what its label says."""

    index: int
    media_type: str
    format: str
    encoded: Callable[[], bytes]
    """Gives the file with its XMP, not yet signed."""
    manifest: Callable[[], dict[str, Any]]


class Publisher:
    """Turns frames into files that say where they come from."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def publish(
        self, index: int, pixels: NDArray[np.uint8], wanted: PublishRequest, original: Ingredient | None = None
    ) -> tuple[Picture, bytes]:
        """Facts and bytes of picture `index`, from uint8 `[height, width, 3]`; raises LabelFailed.

        `original` is the file that an edit began with.
        """
        media_type = MEDIA_TYPES[wanted.format]

        def encoded() -> bytes:
            whole = pixels if wanted.preview is None else enlarge(pixels, wanted.preview.size)
            source = TRAINED_ALGORITHMIC_MEDIA if original is None else COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
            return encode(whole, wanted.format, wanted.compression, source)

        work = Work(index, media_type, wanted.format.value, encoded, lambda: manifest_of(wanted, index, media_type))
        return self.finish(work, original)

    def finish(self, work: Work, original: Ingredient | None = None) -> tuple[Picture, bytes]:
        """Encodes, signs, and reads back; raises LabelFailed."""
        attributes: dict[str, str | int] = {"bowerbird.format": work.format, "bowerbird.frame": work.index}
        try:
            with (
                tracer.start_as_current_span("publish.encode", attributes=attributes),
                _Timed("encode", work.format) as encoding,
            ):
                encoded = work.encoded()
            with tracer.start_as_current_span("publish.sign", attributes=attributes):
                with _Timed("sign", work.format) as signing:
                    signed = self._credentials.sign(encoded, work.media_type, work.manifest(), original)
                with _Timed("verify", work.format) as verifying:
                    self._read_back(signed, work.media_type)
        except (SigningFailed, ManifestUnreadable, OSError, ValueError) as error:
            raise LabelFailed(f"Picture {work.index} could not be labelled, so it does not leave.") from error
        picture = Picture(
            index=work.index,
            media_type=work.media_type,
            digest="sha256:" + hashlib.sha256(signed.content).hexdigest(),
            manifest_bytes=signed.manifest_bytes,
            encode_ms=encoding.seconds * 1000,
            sign_ms=(signing.seconds + verifying.seconds) * 1000,
        )
        return picture, signed.content

    def _read_back(self, signed: Signed, media_type: str) -> None:
        credential = self._credentials.read(signed.content, media_type)
        if credential is None or credential.state != "trusted" or credential.assertion(ORIGIN_LABEL) is None:
            state = "missing" if credential is None else credential.state
            raise SigningFailed(f"the finished file's manifest is {state}")


class _Timed:
    """Seconds of one phase, for the answer and for the metric."""

    seconds = 0.0

    def __init__(self, phase: str, output_format: str) -> None:
        self._series = PUBLISH_SECONDS.labels(phase, output_format)

    def __enter__(self) -> _Timed:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._series.observe(self.seconds)


def follow_credentials(settings: Settings) -> Callable[[], Credentials]:
    """Gives credentials of the configured certificate as its files are; raises CertificateInvalid now, and later not.

    A certificate that was replaced is proved to work before it is taken over (some 20 ms, once); one that does not is
    logged, and the one before goes on. A development certificate stays what it is.
    """
    files = settings.certificate, settings.certificate_key, settings.trust_anchors
    named = [each for each in files if each is not None]
    return Followed(lambda: open_credentials(load_identity(settings)), *named).now


def open_credentials(identity: SigningIdentity) -> Credentials:
    """Credentials that are proved to work: a small picture is published with them; raises CertificateInvalid."""
    try:
        credentials = Credentials(identity)
        Publisher(credentials).publish(0, np.zeros((16, 16, 3), np.uint8), _REHEARSAL)
    except (SigningFailed, LabelFailed) as error:
        raise CertificateInvalid(
            f"{identity.chain_file} cannot be used for content credentials: {error.__cause__ or error}. C2PA wants a "
            "leaf for digital signatures with an accepted extended key usage (such as emailProtection) that chains to "
            "BOWERBIRD_TRUST_ANCHORS or to the last certificate of the file."
        ) from error
    return credentials


_REHEARSAL = PublishRequest(
    count=1,
    format=OutputFormat.PNG,
    origin=Origin(
        request_id="rehearsal",
        trace_id=None,
        model="rehearsal",
        model_digest="sha256:" + "0" * 64,
        seed_digests=["sha256:" + "0" * 64],
        policy=PolicyReference(id="rehearsal", version="0", digest="sha256:" + "0" * 64),
        services={},
    ),
)
