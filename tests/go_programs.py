"""Programs in Go that tests start. Built once, from the Go module proxy; tests never build.

    python -m tests.go_programs      builds what is missing: ten minutes on two cores, 400 MB

They are kept in `~/.cache/bowerbird/<name>/<version>/`. Where one is missing, tests that need it are skipped; in CI
they fail. What a cluster consists of is pinned more closely, in `tests/cluster/binaries.py`; of that only Helm, an API
server and a simulator of network policies are built here, which the chart's tests need.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program that `go install` makes."""

    name: str
    package: str
    version: str

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "bowerbird" / self.name / self.version / self.package.rpartition("/")[2]

    @property
    def why_missing(self) -> str | None:
        """Why tests that need it are skipped, or None where it is there."""
        return None if self.path.exists() else f"{self.name} is not built here (python -m tests.go_programs, with Go)"

    def build(self) -> None:
        """Builds it unless it is there; of two that build it at once, the later one's stays."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
            command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"{self.package}@{self.version}"]
            subprocess.run(command, cwd=folder, env=environment, check=True)
            (Path(folder) / self.path.name).replace(self.path)


OASDIFF = GoProgram("oasdiff", "github.com/oasdiff/oasdiff", "v1.30.0")
S3 = GoProgram("s3", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")


if __name__ == "__main__":
    from tests.cluster.api_server import NEEDED
    from tests.cluster.binaries import build_missing
    from tests.cluster.definitions import definitions

    for each in (OASDIFF, S3):
        each.build()
    build_missing("helm", "cyclonus", *NEEDED)
    definitions()
