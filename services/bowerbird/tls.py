"""Mutual TLS between the processes of one release: each shows a certificate, and all of them are made out to one name.

The gateway connects to pods by their addresses, which no certificate names, so what is checked is that the other side
belongs to this release: its certificate is signed by the release's CA and made out to the release's name, whichever
address was connected to. Servers ask the same of their clients (`members_only`): a CA that signs for a whole cluster
opens nothing.

Files are looked at whenever a connection is made, and read when they have changed: a leaf is renewed without a restart,
as cert-manager and the kubelet do it. A further CA is trusted from then on; one that was taken away, after a restart.
Both sides are ours, so nothing older than TLS 1.3 is spoken (RFC 8446).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bowerbird.settings import Settings

logger = logging.getLogger(__name__)


class Files(NamedTuple):
    """PEM files: a certificate (leaf first), its key, and the CA of the other side."""

    certificate: Path
    key: Path
    ca: Path


class RenewingContext(ssl.SSLContext):
    """What connections are made or accepted with; made by `accepting` and `connecting`, used in one event loop."""

    files: Files
    name: str | None = None
    """What a server's certificate has to be made out to, instead of the address that was connected to."""
    _read: tuple[int, ...] = ()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begins one connection; asyncio, uvloop and aiohttp come here for each."""
        try:
            self.read_if_changed()
        except OSError as error:  # ssl.SSLError is one: half of it replaced, say
            logger.warning("a certificate cannot be read; the one before is used", extra={"reason": str(error)})
        expected = None if server_side else self.name or server_hostname
        return super().wrap_bio(incoming, outgoing, server_side, expected, session)

    def read_if_changed(self) -> None:
        """Takes over what the files say now; raises OSError, and everything is as before."""
        found = tuple(number for file in self.files for number in _version(file))
        if found == self._read:
            return
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.files.certificate, self.files.key)  # do they fit?
        self.load_verify_locations(self.files.ca)
        self.load_cert_chain(self.files.certificate, self.files.key)
        self._read = found


def accepting(files: Files, protocols: Sequence[str] = ()) -> RenewingContext:
    """For a server whose clients must show a certificate of the CA; raises OSError where a file cannot be read."""
    return _context(ssl.PROTOCOL_TLS_SERVER, files, None, protocols)


def connecting(files: Files, name: str) -> RenewingContext:
    """For a client of servers that are made out to `name`; raises OSError where a file cannot be read."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, files, name, ())


def files_of(settings: Settings) -> Files | None:
    """What this process shows the others of its release, and knows them by; None where they speak without TLS.

    Raises SystemExit where only a part of it is named.
    """
    files = settings.tls_certificate, settings.tls_key, settings.tls_ca
    certificate, key, ca = files
    if certificate and key and ca and settings.tls_name:
        return Files(certificate, key, ca)
    if any(files) or settings.tls_name:
        raise SystemExit("BOWERBIRD_TLS_CERTIFICATE, _KEY, _CA and _NAME: name all four, or none.")
    return None


def connecting_of(settings: Settings) -> RenewingContext | None:
    """What a client of this release connects with; raises SystemExit where a file cannot be read."""
    files = files_of(settings)
    return None if files is None else _or_exit(lambda: connecting(files, settings.tls_name or ""))


def accepting_of(settings: Settings) -> RenewingContext | None:
    """What a server of this release accepts connections with; raises SystemExit where a file cannot be read."""
    files = files_of(settings)
    return None if files is None else _or_exit(lambda: accepting(files))


def members_only(protocol: type[asyncio.Protocol], name: str) -> type[asyncio.Protocol]:
    """A server's protocol that hangs up on clients whose certificate is not made out to `name`, and reads nothing."""

    class MembersOnly(protocol):  # type: ignore[valid-type,misc]  # a class like any other
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            certificate = transport.get_extra_info("peercert") or {}
            if ("DNS", name) not in certificate.get("subjectAltName", ()):
                logger.warning("hung up on a client whose certificate is made out to another name")
                transport.abort()

    return MembersOnly


def _or_exit(make: Callable[[], RenewingContext]) -> RenewingContext:
    try:
        return make()
    except OSError as error:
        raise SystemExit(f"BOWERBIRD_TLS_CERTIFICATE, _KEY, _CA: {error.filename or error} cannot be read.") from error


def _context(protocol: int, files: Files, name: str | None, protocols: Sequence[str]) -> RenewingContext:
    context = RenewingContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    context.files, context.name = files, name
    context.read_if_changed()
    return context


def _version(file: Path) -> tuple[int, int]:
    """Another one whenever a file is written or, as the kubelet does it, what its link points to is replaced."""
    found = file.stat()
    return found.st_mtime_ns, found.st_ino
