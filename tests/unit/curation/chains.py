"""Certificates and keys as a deployment mounts them, right and wrong ones."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bowerbird.settings import Settings


def certificate(
    key: PrivateKeyTypes, issuer: PrivateKeyTypes, *, ca: bool = False, usage: bool | None = True, days: int = 30
) -> x509.Certificate:
    """A certificate for `key` by `issuer`; `usage` None leaves key usage out, False forbids signing."""

    def name(of: PrivateKeyTypes) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Org {id(of)}")])

    start = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=min(0, days) - 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(key))
        .issuer_name(name(issuer))
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=abs(days)))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)  # type: ignore[arg-type]
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
    )
    if usage is not None:
        flags = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        flags |= {"digital_signature": usage and not ca, "key_cert_sign": ca, "crl_sign": not usage and not ca}
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    if not ca:
        eku = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(eku, critical=False)
    algorithm = None if isinstance(issuer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer, algorithm)  # type: ignore[arg-type]


class Files:
    """A chain and a key in two files, as a deployment mounts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = ec.generate_private_key(ec.SECP256R1())
        self.leaf: PrivateKeyTypes = ec.generate_private_key(ec.SECP256R1())

    def settings(self, chain: list[x509.Certificate] | None = None, **more: Any) -> Settings:
        chain = chain or [certificate(self.leaf, self.root), certificate(self.root, self.root, ca=True)]
        (self.folder / "tls.crt").write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain))
        (self.folder / "tls.key").write_bytes(pem(self.leaf))
        return Settings(
            home=self.folder, certificate=self.folder / "tls.crt", certificate_key=self.folder / "tls.key", **more
        )


def pem(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
