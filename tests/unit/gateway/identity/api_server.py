"""A Kubernetes API server as far as TokenReview goes: authentication.k8s.io/v1 over TLS, with a CA of its own."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

OWN_TOKEN = "the-gateways-own-token"
PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


def token_of(name: str, audience: str = "bowerbird", lifetime_seconds: float = 3600.0) -> str:
    """What a projected ServiceAccount token looks like; only the API server can tell whether it is one."""
    claims = {"aud": [audience], "exp": int(time.time() + lifetime_seconds), "sub": f"system:serviceaccount:{name}"}
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    head, payload = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{payload}.c2lnbmF0dXJl"


@dataclass
class ApiServer:
    """Vouches for `accounts`: token -> user name. `answer` says something else instead."""

    url: str = ""
    accounts: dict[str, str] = field(default_factory=dict)
    knows_audiences: bool = True
    answer: Response | None = None
    reviewed: list[str] = field(default_factory=list)
    certificates: Path = Path()

    def vouch(self, name: str, audience: str = "bowerbird", lifetime_seconds: float = 3600.0) -> str:
        """A token of the ServiceAccount `namespace:name`."""
        token = token_of(name, audience, lifetime_seconds)
        self.accounts[token] = f"system:serviceaccount:{name}"
        return token

    async def review(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {OWN_TOKEN}":
            return JSONResponse({"kind": "Status", "status": "Failure", "code": 401}, 401)
        body: dict[str, Any] = await request.json()
        assert (body["apiVersion"], body["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
        token, audiences = body["spec"]["token"], body["spec"]["audiences"]
        self.reviewed.append(token)
        if self.answer is not None:
            return self.answer
        user = self.accounts.get(token)
        status: dict[str, Any] = {"user": {}}
        if user is not None:
            status = {"authenticated": True, "user": {"username": user, "uid": "u", "groups": ["system:authenticated"]}}
            status |= {"audiences": audiences} if self.knows_audiences else {}
        return JSONResponse({**body, "metadata": {}, "status": status}, 201)


@contextmanager
def running_api_server(folder: Path) -> Iterator[ApiServer]:
    """A server on loopback; its CA is `folder`/ca.crt, the gateway's own token `folder`/token."""
    server = ApiServer(certificates=folder)
    _write_certificates(folder)
    (folder / "token").write_text(OWN_TOKEN + "\n")
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    app = Starlette(routes=[Route(PATH, server.review, methods=["POST"])])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ssl_certfile=str(folder / "server.crt"),
        ssl_keyfile=str(folder / "server.key"),
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def _write_certificates(folder: Path) -> None:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster's CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    now = datetime.now(UTC)
    lifetime = {"not_before": now - timedelta(hours=1), "not_after": now + timedelta(days=1)}

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(lifetime["not_before"])
            .not_valid_after(lifetime["not_after"])
        )

    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = (
        builder(name, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(ca.public_bytes(pem))
    (folder / "server.crt").write_bytes(leaf.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(secret)
