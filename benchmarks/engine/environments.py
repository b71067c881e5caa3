"""Peers in environments of their own, outside the tree: installed once by uv from `contenders/<name>.txt`.

An environment's folder is named by its requirements' digest, so a changed pin is a new environment. What cannot be
installed (no uv, no network) raises PeerMissing, and the row says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONTENDERS = Path(__file__).parent / "contenders"
CACHE = Path(
    os.environ.get("BOWERBIRD_BENCHMARKS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bowerbird" / "benchmarks"
)


class PeerMissing(Exception):
    """A peer, or what a row compares, is not to be had here; the message says why."""


def prepared() -> Path:
    """Where our backends keep graphs that they prepared for this machine, from one run to the next."""
    return CACHE / "prepared"


def python_of(name: str, contenders: Path = CONTENDERS) -> Path:
    """The interpreter of a peer's environment, which is made when it is not there; `contenders` has its pins."""
    requirements = contenders / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / "environments" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {name} into {folder}", file=sys.stderr)
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(python), "--requirements", str(requirements))
    (folder / "complete").touch()
    return python


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    try:
        done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise PeerMissing("uv is not here; `make bench-engine` brings it") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise PeerMissing(f"uv {arguments[0]}: {reason[:200]}")
