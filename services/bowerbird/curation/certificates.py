"""Who signs: the configured certificate, or a development one made on first start.

Called by `publishing` at start, and when the files are others than before. In production `BOWERBIRD_CERTIFICATE` and
`BOWERBIRD_CERTIFICATE_KEY` name PEM files; anything wrong with them stops the start with the file's name
(`CertificateInvalid`), because a service that signs with something else than it was told to would be worse than one
that is down. Without them a development root and leaf are made in `home/curation/development-certificate/` and used
from then on: a picture signed today can be verified tomorrow. That is for one machine; replicas without a common `home`
would not recognise each other's pictures.

The development root's key is thrown away after it has signed the one leaf: nothing can be issued in its name later.
The folder appears by one rename of a finished folder, so two processes that start at once end with the same
certificate, and a process killed half-way leaves nothing that looks finished.
"""

from __future__ import annotations

import datetime
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bowerbird.errors import CertificateInvalid
from bowerbird.settings import Settings

ORGANIZATION = "Bowerbird development"
VALID_DAYS = 3650
"""Ten years: without a time-stamping authority a signature counts only as long as its certificate does."""

FOLDER = Path("curation") / "development-certificate"
CHAIN_FILE, KEY_FILE = "chain.pem", "key.pem"

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """What signing and recognising one's own signatures need, as PEM; `algorithm` is C2PA's name (`es256`, …)."""

    algorithm: str
    chain_file: Path
    chain: bytes
    key: bytes = field(repr=False)
    anchors: bytes

    @property
    def fingerprint(self) -> str:
        """`sha256:` and that of the certificate that signs, in DER."""
        return f"sha256:{x509.load_pem_x509_certificate(self.chain).fingerprint(hashes.SHA256()).hex()}"


def load_identity(settings: Settings) -> SigningIdentity:
    """The configured identity, or the development one (made when there is none yet); raises CertificateInvalid."""
    configured, key = settings.certificate, settings.certificate_key
    if configured is not None and key is not None:
        chain_path, key_path = configured, key
    elif configured is None and key is None:
        folder = settings.home / FOLDER
        try:
            _ensure_development_certificate(folder)
        except OSError as error:
            raise CertificateInvalid(f"{folder} cannot be made: {error.strerror}.") from error
        chain_path, key_path = folder / CHAIN_FILE, folder / KEY_FILE
    else:
        raise CertificateInvalid("BOWERBIRD_CERTIFICATE and BOWERBIRD_CERTIFICATE_KEY belong together; one is missing.")
    return _read_identity(chain_path, key_path, settings.trust_anchors)


def _read_identity(chain_path: Path, key_path: Path, anchors_path: Path | None) -> SigningIdentity:
    chain = _read_certificates(chain_path)
    key_pem = _read(key_path)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateInvalid(f"{key_path} is not an unencrypted PEM private key.") from error
    _check_chain(chain, chain_path)
    if key.public_key() != chain[0].public_key():
        raise CertificateInvalid(f"{key_path} is not the key of the first certificate in {chain_path}.")
    trusted = [chain[-1], *(_read_certificates(anchors_path) if anchors_path else [])]
    return SigningIdentity(_algorithm(key, key_path), chain_path, _pem(chain), _unencrypted(key), _pem(trusted))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateInvalid(f"{path} cannot be read: {error.strerror}.") from error


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise CertificateInvalid(f"{path} does not hold PEM certificates.") from error


def _check_chain(chain: list[x509.Certificate], path: Path) -> None:
    """Valid today, each issued by the next, the first one allowed to sign; the rest of C2PA's profile is proved by
    use.
    """
    now = datetime.datetime.now(datetime.UTC)
    for certificate in chain:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            name = certificate.subject.rfc4514_string()
            raise CertificateInvalid(f"{path}: the certificate of {name} is not valid today.")
    for subject, issuer in itertools.pairwise(chain):
        try:
            subject.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateInvalid(f"{path}: each certificate must be issued by the one after it.") from error
    try:
        usage = chain[0].extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise CertificateInvalid(f"{path}: the first certificate states no key usage.") from error
    if not usage.digital_signature:
        raise CertificateInvalid(f"{path}: the first certificate is not for digital signatures.")


def _algorithm(key: PrivateKeyTypes, path: Path) -> str:
    """C2PA's name of the signature algorithm that a key of this kind makes (C2PA 2.x, section 13.2)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise CertificateInvalid(f"{path}: C2PA accepts keys on P-256, P-384 or P-521, Ed25519, and RSA from 2048 bits.")


def _unencrypted(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _ensure_development_certificate(folder: Path) -> None:
    """Makes the folder unless it is there; whoever is second throws its own work away."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".development-certificate-", dir=folder.parent))
    try:
        chain, key = _development_certificate()
        _write(draft / CHAIN_FILE, _pem(chain))
        _write(draft / KEY_FILE, _unencrypted(key))
        try:
            draft.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    """Readable by its owner only, and on the disk before the folder gets its name."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _development_certificate() -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
    """A leaf on P-256 and the root that issued it, as C2PA's certificate profile wants them (2.x, section 14.5)."""
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, leaf_name = _name("Bowerbird development root"), _name("Bowerbird curation")
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _draft(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _draft(leaf_name, root_name, leaf_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return [leaf, root], leaf_key


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    # An hour back: the clocks of two machines of one cluster differ.
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=VALID_DAYS))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
