"""What `bowerbird doctor` looks at before anything runs: the machine, the installation, the bundles."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

from bowerbird.embedded.finding import Finding, fail, ok, warn
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BundleInvalid
from bowerbird.settings import Settings

SERVING_EXTRAS = ("gateway", "model", "cpu")
GIGABYTE = 1024**3
MEMORY_BYTES = 2 * GIGABYTE
"""Five services with the model that comes with it take about 1.5 GB."""
DISK_BYTES = GIGABYTE
"""Logs (20 MB for each service) and derived graphs."""
SMALLEST_PYTHON = (3, 11)

MAKE = "Type `make up`: it installs what is missing."


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Facts about the machine and what is installed on it, cheapest first."""
    yield _python()
    yield _cores()
    yield _instruction_set()
    yield _memory()
    yield _disk(settings.home)
    yield _packages()
    yield _bytecode()
    yield _bundle("model", settings.model)
    yield _bundle("judge", settings.judge)


def _python() -> Finding:
    version = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    if sys.version_info < SMALLEST_PYTHON:
        return fail("Python", version, "Install Python 3.11 or newer.")
    return ok("Python", version)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0]
    fact = f"{cores} for this process, load {busy:.1f}"
    if cores < 2:
        return warn("cores", fact, "Give it two or more: five services share what there is.")
    if busy > cores:
        return warn("cores", fact, "Other programs are computing; pictures take longer meanwhile.")
    return ok("cores", fact)


def _instruction_set() -> Finding:
    flags = _cpu_flags()
    best = next((name for name in ("avx512f", "avx2", "asimd") if name in flags), None)
    if best is None and flags:
        return warn("instruction set", platform.machine(), "Without AVX2 a picture takes several times as long.")
    return ok("instruction set", f"{platform.machine()}{f', {best}' if best else ''}")


def _cpu_flags() -> set[str]:
    """What the kernel says the processor can do; empty where it does not say (macOS)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.lower().startswith(("flags", "features"))), set())


def _memory() -> Finding:
    available = psutil.virtual_memory().available
    fact = f"{available / GIGABYTE:.1f} GB available"
    if available < MEMORY_BYTES:
        return warn("memory", fact, f"The stack wants {MEMORY_BYTES / GIGABYTE:.0f} GB; end something else.")
    return ok("memory", fact)


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    fact = f"{free / GIGABYTE:.1f} GB free at {home}"
    if not os.access(existing, os.W_OK):
        return fail("disk", f"{existing} cannot be written", "Set BOWERBIRD_HOME to a folder that can.")
    if free < DISK_BYTES:
        return warn("disk", fact, f"Free {DISK_BYTES / GIGABYTE:.0f} GB, or set BOWERBIRD_HOME to another disk.")
    return ok("disk", fact)


def _packages() -> Finding:
    """Compares what the serving extras ask for with what is installed."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires("bowerbird") or []
    except metadata.PackageNotFoundError:
        return warn("packages", "bowerbird runs from its sources and is not installed", MAKE)
    wanted = [
        each
        for each in map(Requirement, declared)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in SERVING_EXTRAS)
    ]
    wrong = [problem for each in wanted if (problem := _problem(each.name, str(each.specifier)))]
    if wrong:
        return fail("packages", "; ".join(wrong), MAKE)
    return ok("packages", f"{len(wanted)} that serving needs, onnxruntime {metadata.version('onnxruntime')}")


def _problem(name: str, specifier: str) -> str | None:
    from packaging.specifiers import SpecifierSet

    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    if not SpecifierSet(specifier).contains(installed, prereleases=True):
        return f"{name} {installed} is not {specifier}"
    return None


def _bytecode() -> Finding:
    """Whether packages were compiled once: it halves the time until a service is ready, and more on few cores."""
    spec = importlib.util.find_spec("bentoml")
    if spec is None or spec.origin is None:
        return fail("BentoML", "not installed", MAKE)
    if Path(importlib.util.cache_from_source(spec.origin)).exists():
        return ok("bytecode", "installed packages are compiled")
    advice = f"Compile them once: {sys.executable} -m compileall -q {Path(spec.origin).parent.parent}"
    return warn("bytecode", "installed packages are compiled anew at every start", advice)


def _bundle(name: str, folder: Path) -> Finding:
    try:
        bundle = Bundle.open(folder)
    except BundleInvalid as error:
        advice = f"Restore the folder (git checkout -- {folder}), or set BOWERBIRD_{name.upper()} to another bundle."
        return fail(name, error.message, advice)
    megabytes = sum(file.bytes for file in bundle.manifest.files.values()) / 1024**2
    facts = bundle.manifest
    return ok(name, f"{facts.name} {facts.version}, {megabytes:.1f} MB, all digests right, {bundle.digest[:19]}…")
