"""Who talks to the API server, and as whom: a kubeconfig for each."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from .certificates import Authority
from .network import CONTROL_ADDRESS

API_SERVER = f"https://{CONTROL_ADDRESS}:6443"


def write_kubeconfig(file: Path, authority: Authority, user: str, group: str = "", server: str = API_SERVER) -> Path:
    """A kubeconfig that needs no other file, so that it can be copied; of a user whom a certificate names."""
    certificate, key = authority.issue(file, user, group)
    cluster = {"server": server, "certificate-authority-data": _base64(authority.certificate_file)}
    identity = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bowerbird", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "bowerbird", "context": {"cluster": "bowerbird", "user": user}}],
        "current-context": "bowerbird",
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(content))
    return file


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
