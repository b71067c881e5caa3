"""Bowerbird's own images, built by buildah from the Dockerfiles that ship, on a Debian made by debootstrap.

No registry is asked: the base is made of Debian's packages, the rest comes from PyPI by `uv.lock`. An archive is kept
by the digest of everything that its image is made of, so that what did not change is not built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from .binaries import cache

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "localhost/bowerbird-base:1"
RUNTIME_IMAGE = "localhost/bowerbird-base-without-shell:1"
SHELLS = ("/bin/sh", "/bin/dash", "/bin/bash", "/bin/rbash")
"""What BASE_IMAGE has of them, and RUNTIME_IMAGE has not."""
DEBIAN_RELEASE = "bookworm"
TAG = "test"
TARGETS = {"gateway": "bowerbird-gateway", "model": "bowerbird-inference"}
"""Target of Dockerfile.inference -> name of its image."""
INPUTS = ("Dockerfile.inference", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "services")
CERTIFICATES = Path("/etc/ssl/certs")
# No slim image: the interpreter with venv, and what pip needs to reach PyPI.
PACKAGES = "python3,python3-venv,ca-certificates"


def archive(target: str) -> Path:
    """An archive of the target's image as it is now, built if need be; raises CalledProcessError."""
    made = cache() / "images" / f"{TARGETS[target]}-{_digest_of_inputs()}.tar"
    if not made.exists():
        for old in made.parent.glob(f"{TARGETS[target]}-*.tar"):
            old.unlink()
        build(target, made)
    return made


def build(target: str, archive_file: Path) -> None:
    """Builds one target and writes it as an archive."""
    name = built(target, TAG, "--layers")
    archive_file.parent.mkdir(parents=True, exist_ok=True)
    draft = archive_file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    # A node takes a layer of zstd in seconds, one of gzip in a minute on two busy cores.
    buildah("push", "--quiet", "--compression-format", "zstd", name, f"oci-archive:{draft}:{name}")
    draft.rename(archive_file)


def built(target: str, tag: str, *options: str) -> str:
    """Builds one target; the name of its image."""
    make_base()
    name = f"localhost/{TARGETS[target]}:{tag}"
    stated = ["--file", "Dockerfile.inference", "--target", target, "--tag", name, "--timestamp", "0", *options]
    # The authorities that this machine trusts: what stands between it and PyPI may have one of its own.
    stated += ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--build-arg", f"RUNTIME_IMAGE={RUNTIME_IMAGE}"]
    stated += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    buildah("build", "--isolation", "chroot", *stated, ".")
    return name


def differing() -> list[str]:
    """Targets whose image is another one when it is built anew, without any layer that was kept."""
    found = []
    for target in TARGETS:
        first, second = built(target, TAG, "--layers"), built(target, "anew", "--layers", "--no-cache")
        found += [target] if identity(first) != identity(second) else []
        buildah("rmi", second)
    return found


def identity(name: str) -> str:
    """The digest of an image's configuration, which names every layer by its content."""
    command = _buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_base() -> None:
    """The images that BASE_IMAGE and RUNTIME_IMAGE name in tests: Debian with Python, with shells and without, once."""
    if not _is_there(BASE_IMAGE):
        _make_debian()
    if not _is_there(RUNTIME_IMAGE):
        removal = f"import os; [os.remove(each) for each in {SHELLS!r}]"
        _build_of(f"FROM {BASE_IMAGE}\nRUN {json.dumps(['python3', '-c', removal])}\n", RUNTIME_IMAGE)


def _make_debian() -> None:
    folder = cache() / "base"
    root, context = folder / "root", folder / "context"
    context.mkdir(parents=True, exist_ok=True)
    if not (root / "usr/bin/python3").exists():
        options = ["--variant=minbase", f"--include={PACKAGES}"]
        subprocess.run(["/usr/sbin/debootstrap", *options, DEBIAN_RELEASE, str(root)], check=True)
    with tarfile.open(context / "root.tar", "w") as tar:
        tar.add(root, arcname=".", filter=_without_packages)
    trusted = CERTIFICATES / "ca-certificates.crt"
    _build_of(f"FROM scratch\nADD root.tar /\nENV PIP_CERT={trusted} SSL_CERT_FILE={trusted}\n", BASE_IMAGE)
    (context / "root.tar").unlink()


def _build_of(dockerfile: str, name: str) -> None:
    context = cache() / "base" / "context"
    (context / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    buildah("build", "--isolation", "chroot", "--tag", name, str(context))


def _is_there(name: str) -> bool:
    return (
        subprocess.run(_buildah("inspect", "--type", "image", name), capture_output=True, check=False).returncode == 0
    )


def listed() -> dict[str, float]:
    """Image -> its megabytes (10^6 bytes, to three digits), of all that were built here."""
    found = subprocess.run(_buildah("images", "--json"), check=True, capture_output=True, text=True).stdout
    units = {"MB": 1.0, "GB": 1000.0}
    sizes = {name: each["size"].split() for each in json.loads(found) for name in each["names"] or ()}
    return {name: float(number) * units[unit] for name, (number, unit) in sizes.items()}


def buildah(*arguments: str) -> None:
    """Runs buildah on a store of the tests' own; raises CalledProcessError."""
    subprocess.run(_buildah(*arguments), check=True, cwd=ROOT)


def _buildah(*arguments: str) -> list[str]:
    store = cache() / "buildah"
    return ["buildah", "--root", str(store / "root"), "--runroot", str(store / "run"), *arguments]


def _without_packages(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.startswith(("./var/cache/apt/archives", "./var/lib/apt/lists")) else entry


def _digest_of_inputs() -> str:
    digest = hashlib.sha256()
    for file in _files(ROOT / each for each in INPUTS):
        digest.update(f"{file.relative_to(ROOT)}\0{os.access(file, os.X_OK)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (each for each in found if each.is_file() and "__pycache__" not in each.parts)
