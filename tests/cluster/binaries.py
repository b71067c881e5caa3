"""The programs of a cluster, built from Go modules and kept by version outside the tree.

`python -m tests.cluster build` builds what is missing (a quarter of an hour on two cores, 5 GB of Go's caches); tests
never build. Each folder of `modules/` is a Go module whose `tool` directives name programs and whose `go.sum` pins
every byte they are made of: `k8s.io/kubernetes` cannot be `go install`ed, since its go.mod replaces parts by folders.

What takes the time is compiling, and most of that what several programs are made of. So helm, coredns and containerd
have one version of whatever they share, which is compiled once; CoreDNS has the plugins that are asked for, and KEDA
the scalers (`keda_sources`).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .keda_sources import KEDA, write_sources

MODULES = Path(__file__).parent / "modules"
KUBERNETES_VERSION = "v1.36.3"
# Without them a node reports version v0.0.0, which the API server and Helm refuse to work with.
KUBERNETES_FLAGS = (
    f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION} "
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 "
    f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}"
)
CONTAINERD_VERSION = "v2.4.2"


@dataclass(frozen=True, slots=True)
class Module:
    """A folder of `modules/`: its programs, each with the package that it is built from."""

    name: str
    programs: Mapping[str, str]
    linker_flags: str = "-s -w"
    is_of_clusters: bool = True
    """Else only the chart's own tests need it, which have no cluster."""
    modfile: Callable[[], Path] | None = None
    """Writes another go.mod to build with, for other sources of a dependency."""


def keda_modfile() -> Path:
    """Of KEDA without most of its scalers."""
    folder = folder_of(next(each for each in ALL if each.name == "keda"))
    return write_sources(MODULES / "keda", module_folder("keda", KEDA), folder / "sources")


ALL = (
    Module(
        "kubernetes",
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "deviceplugin": "./deviceplugin",
            "pause": "./pause",
        },
        KUBERNETES_FLAGS,
    ),
    Module(
        "containerd",
        {
            "containerd": "github.com/containerd/containerd/v2/cmd/containerd",
            "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "ctr": "github.com/containerd/containerd/v2/cmd/ctr",
        },
        f"-s -w -X github.com/containerd/containerd/v2/version.Version={CONTAINERD_VERSION}",
    ),
    Module("dra", {"dradriver": "."}),
    Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module("coredns", {"coredns": "."}),
    Module(
        "keda",
        {
            "keda": f"{KEDA}/cmd/operator",
            "keda-adapter": f"{KEDA}/cmd/adapter",
            "keda-admission-webhooks": f"{KEDA}/cmd/webhooks",
        },
        modfile=keda_modfile,
    ),
    Module("cyclonus", {"cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus"}, is_of_clusters=False),
)


def cache() -> Path:
    """Everything of clusters that is outside the tree; BOWERBIRD_CLUSTER_HOME moves it."""
    chosen = os.environ.get("BOWERBIRD_CLUSTER_HOME")
    return Path(chosen) if chosen else Path.home() / ".cache" / "bowerbird" / "cluster"


def folder_of(module: Module) -> Path:
    """Where the module's programs are, or will be: a folder for each version of what they are made of."""
    digest = hashlib.sha256(module.linker_flags.encode())
    for source in sorted((MODULES / module.name).rglob("*")):
        if source.is_file():
            digest.update(source.read_bytes())
    return cache() / "binaries" / f"{module.name}-{digest.hexdigest()[:12]}"


def program(name: str) -> Path:
    """Where a program is, or will be."""
    module = next(each for each in ALL if name in each.programs)
    return folder_of(module) / name


def missing() -> list[str]:
    """Programs of a cluster that are not built."""
    return [name for module in ALL if module.is_of_clusters for name in module.programs if not program(name).exists()]


def search_path() -> str:
    """PATH with every built program before the machine's own, and where Debian puts runc and iptables."""
    return os.pathsep.join([*(str(folder_of(module)) for module in ALL), "/usr/sbin", "/sbin", os.environ["PATH"]])


def build_missing(*names: str) -> None:
    """Builds what is missing, of a cluster's programs or of these, one after the other: two linkers at once want 6 GB.
    Raises CalledProcessError."""
    wanted = names or tuple(missing())
    for module in ALL:
        folder = folder_of(module)
        for name, package in module.programs.items():
            if name not in wanted or (folder / name).exists():
                continue
            print(f"building {name}", file=sys.stderr, flush=True)  # what `up` prints is for a shell to evaluate
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{name}.draft"
            flags = ["-trimpath", "-ldflags", module.linker_flags]
            if module.modfile is not None:
                flags.append(f"-modfile={module.modfile()}")
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
            command = ["go", "build", *flags, "-o", str(draft), package]
            subprocess.run(command, cwd=MODULES / module.name, env=environment, check=True)
            draft.rename(folder / name)


def module_folder(module: str, path: str) -> Path:
    """The sources of a dependency of `modules/<module>`, from the module cache (KEDA's manifests are there), which they
    are brought into if need be."""
    command = ["go", "mod", "download", "-json", path]
    found = subprocess.run(command, cwd=MODULES / module, check=True, capture_output=True, text=True)
    return Path(json.loads(found.stdout)["Dir"])
