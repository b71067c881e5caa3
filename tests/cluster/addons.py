"""What a cluster has beyond Kubernetes: cluster DNS and KEDA, as pods, from images made of the programs built here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .binaries import cache, module_folder, program
from .keda_sources import KEDA
from .node import PAUSE_IMAGE
from .oci import write_image

DNS = Path(__file__).parent / "coredns.yaml"
IMAGES = {
    PAUSE_IMAGE: "pause",
    "localhost/coredns:1": "coredns",
    "localhost/keda:1": "keda",
    "localhost/keda-adapter:1": "keda-adapter",
    "localhost/keda-admission-webhooks:1": "keda-admission-webhooks",
}
"""Image -> the program that it consists of."""


def images() -> list[Path]:
    """Archives of `IMAGES`, written where one is missing or older than its program."""
    folder = cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    archives = []
    for name, binary in IMAGES.items():
        archive = folder / f"{program(binary).parent.name}-{binary}.tar"
        if not archive.exists():
            write_image(archive, name, {f"/{binary}": program(binary)}, [f"/{binary}"])
        archives.append(archive)
    return archives


def keda_manifests() -> Path:
    """KEDA's own manifests, from its module, with the images that are here."""
    rendered = program("keda").with_name("keda.yaml")
    if not rendered.exists():
        rendered.write_text(with_local_images(kustomized("default")))
    return rendered


def kustomized(part: str) -> str:
    """One of KEDA's own folders of manifests, as it ships."""
    source = module_folder("keda", KEDA) / "config" / part
    command = [str(program("kubectl")), "kustomize", str(source)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def with_local_images(manifests: str) -> str:
    """KEDA's manifests name a registry and a moving tag."""
    for upstream, local in (
        ("ghcr.io/kedacore/keda-metrics-apiserver:main", "localhost/keda-adapter:1"),
        ("ghcr.io/kedacore/keda-admission-webhooks:main", "localhost/keda-admission-webhooks:1"),
        ("ghcr.io/kedacore/keda:main", "localhost/keda:1"),
    ):
        if upstream not in manifests:
            raise LookupError(f"KEDA's manifests do not name {upstream} any more")
        manifests = manifests.replace(upstream, local)
    return manifests.replace("imagePullPolicy: Always", "imagePullPolicy: Never")
