"""KEDA without the scalers that Bowerbird never asks for; `binaries` builds KEDA from what is written here.

KEDA has some eighty scalers in one package, and with them the clients of as many services: two thousand of the three
thousand packages that its operator consists of, and five of its eight minutes of compiling. Here the package has the
files that `modules/keda/scalers` names, and the switch over trigger types, which KEDA marks for its own tools, has
their cases. Nothing else differs: operator, push, metrics, secrets and webhooks are KEDA's own, with their versions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

KEDA = "github.com/kedacore/keda/v2"
SWITCH = re.compile(r"(?<=// TRIGGERS-START\n)(.*?)(?=\t// TRIGGERS-END)", re.DOTALL)
CASE = re.compile(r"(?=^\tcase |^\tdefault:)", re.MULTILINE)
CONSTRUCTOR = re.compile(r"scalers\.(New\w+)\(")


def write_sources(module: Path, keda: Path, folder: Path) -> Path:
    """Writes KEDA's sources into `folder`, unless they are there, and a go.mod that leads to them, which is returned.

    `module` is the folder with the go.mod that names KEDA, `keda` KEDA as its module is published. Raises LookupError
    where KEDA is not laid out as it was.
    """
    modfile = folder / "go.mod"
    if modfile.exists():
        return modfile
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        draft = Path(place) / folder.name
        draft.mkdir()
        writable = ["cp", "-r", "--no-preserve=mode", str(keda), str(draft / "keda")]  # Go's cache is read-only
        subprocess.run(writable, check=True)
        _leave_out_scalers(draft / "keda", _kept(module))
        shutil.copyfile(module / "go.sum", draft / "go.sum")
        replaced = f"\nreplace {KEDA} => {folder / 'keda'}\n"
        (draft / "go.mod").write_text((module / "go.mod").read_text() + replaced)
        draft.rename(folder)
    return modfile


def _kept(module: Path) -> set[str]:
    lines = (module / "scalers").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def _leave_out_scalers(keda: Path, kept: Collection[str]) -> None:
    scalers = keda / "pkg" / "scalers"
    if absent := [name for name in kept if not (scalers / name).exists()]:
        raise LookupError(f"KEDA has no {', '.join(absent)} any more")
    constructors = set()
    for file in scalers.glob("*.go"):
        if file.name in kept:
            constructors.update(re.findall(r"^func (New\w+)\(", file.read_text(), re.MULTILINE))
        else:
            file.unlink()
    builder = keda / "pkg" / "scaling" / "scalers_builder.go"
    trimmed, switches = SWITCH.subn(lambda found: _cases_of(found[1], constructors), builder.read_text())
    if switches != 1:
        raise LookupError("KEDA does not mark the switch over its triggers any more")
    builder.write_text(trimmed)


def _cases_of(switch: str, constructors: Collection[str]) -> str:
    """The switch with the cases that call one of these, and those that call none."""
    cases = CASE.split(switch)
    return "".join(case for case in cases if set(CONSTRUCTOR.findall(case)) <= set(constructors))
