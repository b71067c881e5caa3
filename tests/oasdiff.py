"""oasdiff (Apache-2.0) compares two OpenAPI documents and says which changes break clients of the older one.

It is built once from the Go module proxy into `~/.cache/bowerbird/oasdiff/<version>/` (a minute on two cores, 18 MB) by
`python tests/oasdiff.py`; tests never build. Where it is missing, tests that need it are skipped; in CI they fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

MODULE = "github.com/oasdiff/oasdiff"
VERSION = "v1.30.0"
ERROR_LEVEL = 3
"""What oasdiff is sure of; 2 are warnings, such as a value that an answer may now have and a client may not know."""

GROWS = frozenset({"response-property-enum-value-added"})
"""What this API says that clients must expect (`info.description`): words in answers that they do not know."""


def program() -> Path:
    """Where the built program is, or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bowerbird" / "oasdiff" / VERSION / "oasdiff"


def build() -> None:
    """Builds the program unless it is there."""
    target = program()
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        (Path(folder) / "oasdiff").replace(target)


needs_oasdiff = pytest.mark.skipif(
    not program().exists() and not os.environ.get("CI"),
    reason="oasdiff is not built here (python tests/oasdiff.py builds it, with Go)",
)


def breaking_changes(old: Path, new: Path) -> list[str]:
    """One sentence for each change that breaks a client of the old document."""
    command = [str(program()), "breaking", str(old), str(new), "--format", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    changes: list[dict[str, Any]] = json.loads(done.stdout or "[]") or []
    return [
        f"{each.get('operation', '')} {each.get('path', '')}: {each['text']}"
        for each in changes
        if each["level"] >= ERROR_LEVEL and each["id"] not in GROWS
    ]


if __name__ == "__main__":
    build()
