"""Kinds that the chart names and Kubernetes does not have, as their own projects define them: KEDA's, cert-manager's,
Prometheus' operator's. An API server that knows them judges every field that the chart writes.

They are read out of Go modules, each pinned by the checksum that go.sum would hold, and kept beside the programs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .addons import kustomized
from .binaries import cache, program


@dataclass(frozen=True, slots=True)
class Source:
    """A Go module's version, its checksum (`h1:`, as in go.sum), and files in it."""

    module: str
    version: str
    checksum: str
    files: Sequence[str]


SOURCES = (
    Source(
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        ("deploy/crds/cert-manager.io_certificates.yaml",),
    ),
    Source(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        ("example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",),
    ),
)


def definitions() -> list[Path]:
    """Manifests of all of them, read where one is not kept yet; raises CalledProcessError, and ValueError where
    a module is not the one that is pinned."""
    return [_of_keda(), *(_of(source) for source in SOURCES)]


def _of_keda() -> Path:
    kept = program("keda").with_name("definitions.yaml")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _written(kept, kustomized("crd"))
    return kept


def _of(source: Source) -> Path:
    name = f"{source.module.rpartition('/')[2]}-{source.version}"
    kept = cache() / "definitions" / f"{name}.yaml"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = _downloaded(source)
        _written(kept, "---\n".join((folder / file).read_text(encoding="utf-8") for file in source.files))
    return kept


def _downloaded(source: Source) -> Path:
    command = ["go", "mod", "download", "-json", f"{source.module}@{source.version}"]
    found = json.loads(subprocess.run(command, cwd=cache(), check=True, capture_output=True, text=True).stdout)
    if found["Sum"] != source.checksum:
        raise ValueError(f"{source.module}@{source.version} is {found['Sum']}, not {source.checksum}")
    return Path(found["Dir"])


def _written(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
