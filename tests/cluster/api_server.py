"""The API server alone, on loopback, for what only it can judge: whether it would take what the chart renders.

etcd and kube-apiserver as a cluster of ours has them (`control_plane`), as two processes that need no root; there are
no nodes, and nothing that is accepted is ever run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .access import write_kubeconfig
from .binaries import program
from .certificates import Authority, write_key
from .cluster import Cluster
from .definitions import definitions
from .release import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
NEEDED = ("etcd", "kube-apiserver", "kubectl")
"""Programs that it takes."""


@contextmanager
def running_api_server(folder: Path, *, bare: bool = False) -> Iterator[Cluster]:
    """One that answers and knows every kind that the chart names, or `bare` none but Kubernetes' own, with its files in
    `folder`; ends with the block."""
    etcd, peer, port = free_port(), free_port(), free_port()
    authority = Authority(folder)
    commands = {
        "etcd": [
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": api_server_options(folder, authority, port, etcd),
    }
    address = f"https://127.0.0.1:{port}"
    kubeconfig = write_kubeconfig(folder / "kubeconfig", authority, "admin", "system:masters", address)
    with ExitStack() as stack:
        for name, options in commands.items():
            stack.enter_context(running(folder, name, options))
        cluster = Cluster(folder, {}, kubeconfig)
        cluster.until(lambda: cluster.kubectl("get", "--raw", "/readyz") == "ok", "an API server", READY_SECONDS)
        if not bare:
            for kinds in definitions():
                cluster.kubectl("apply", "--server-side", "-f", str(kinds))
            cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", f"--timeout={READY_SECONDS:.0f}s")
        yield cluster


def api_server_options(folder: Path, authority: Authority, port: int, etcd: int) -> list[str]:
    """Its flags; keys and certificates are written into `folder`."""
    account_key = write_key(folder / "service-accounts.key")
    served, served_key = authority.issue(folder / "apiserver", "kube-apiserver", hosts=["127.0.0.1"])
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",  # nobody finds it by the Service `kubernetes`, which must not be loopback
        f"--client-ca-file={authority.certificate_file}",
        f"--tls-cert-file={served}",
        f"--tls-private-key-file={served_key}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={account_key}",
        f"--service-account-signing-key-file={account_key}",
        "--disable-admission-plugins=ServiceAccount",  # no controller makes the `default` one of a namespace
    ]


@contextmanager
def running(folder: Path, name: str, options: list[str]) -> Iterator[None]:
    """A program until the block ends; what it says is in a file of its name."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(program(name)), *options], stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
