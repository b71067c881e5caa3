"""The folder of LoRAs, `<id>.safetensors` each, as it is at the moment one is named.

The scheduler asks `find` for each LoRA of a request, the service answers `catalogue`. Files come, go and are replaced
while the service runs: `find` looks at size and time of change every time and reads what changed again, so a replaced
file is a new LoRA with a new digest, and rows that began with the old one end with it. What was read stays in memory
up to `keep_bytes`, so that a change between LoRAs does not wait for the disk; of the others only the verdict is kept.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bowerbird.contracts import LoraCatalogue, LoraFacts, LoraId
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.lora.files import LoraFile, read_lora, stated_rank
from bowerbird.engine.lora.names import Names
from bowerbird.errors import LoraInvalid, LoraUnknown

SUFFIX = ".safetensors"
KEEP_BYTES = 1024 * 1024 * 1024
"""Six LoRAs of rank 16 on every layer of SDXL."""
USUAL_RANK = 16

Look = tuple[tuple[int, int, int] | None, ...]
"""Inode, size and nanoseconds of the last change, of the file and of its sidecar: equal looks, equal content."""

SETTLING_SECONDS = 2.0
"""A file that changed so recently may change again within the grain of its clock: its look proves nothing yet."""

_LORA_ID: TypeAdapter[str] = TypeAdapter(LoraId)


@dataclass(frozen=True, slots=True)
class _Verdict:
    look: Look
    facts: LoraFacts | None
    refusal: str


class LoraShelf:
    """The LoRAs of one folder that fit one bundle; any thread may ask."""

    def __init__(self, folder: Path | None, bundle: Bundle, keep_bytes: int = KEEP_BYTES) -> None:
        self._folder = folder
        self._names = Names(bundle)
        self._keep_bytes = keep_bytes
        self._verdicts: dict[str, _Verdict] = {}
        self._files: OrderedDict[str, LoraFile] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, lora_id: str) -> LoraFile:
        """The LoRA as its file is now; one that is new or changed is read first, which may take a second.

        Raises LoraUnknown (no such file, or no folder) or LoraInvalid (it cannot be used with this model, and why).
        """
        path = self._path(lora_id)
        look = _look(path)
        with self._lock:
            verdict, file = self._verdicts.get(lora_id), self._files.get(lora_id)
            if verdict is not None and verdict.look == look:
                if verdict.facts is None:
                    raise LoraInvalid(verdict.refusal, param="lora")
                if file is not None:
                    self._files.move_to_end(lora_id)
                    return file
        return self._read(lora_id, path, look if _settled(look) else ())

    def catalogue(self) -> LoraCatalogue:
        """What lies in the folder; every file that is new or changed is read."""
        loras, refused = [], {}
        for path in sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder else ():
            try:
                loras.append(self._facts(path.name.removesuffix(SUFFIX)))
            except LoraInvalid as error:
                refused[path.name] = error.message
            except LoraUnknown as error:
                if path.exists():  # else it went while we looked
                    refused[path.name] = error.message
        return LoraCatalogue(loras=loras, refused=refused)

    def likely_rank(self) -> int:
        """What to make room for before anything is named: the largest rank that a file here states, else USUAL_RANK.

        Only headers are read, and believed in nothing else.
        """
        paths = self._folder.glob(f"*{SUFFIX}") if self._folder else ()
        return max((stated_rank(path, self._names) for path in paths), default=0) or USUAL_RANK

    def _facts(self, lora_id: str) -> LoraFacts:
        path = self._path(lora_id)
        verdict = self._verdicts.get(lora_id)
        if verdict is None or verdict.facts is None or verdict.look != _look(path):
            return self.find(lora_id).facts()
        return verdict.facts

    def _path(self, lora_id: str) -> Path:
        """The pattern of an id has no separator: no id leads out of the folder."""
        try:
            _LORA_ID.validate_python(lora_id)
        except ValidationError as error:
            raise LoraUnknown(
                "A LoRA's name is letters, digits, '.', '_' and '-', at most 100.", param="lora"
            ) from error
        path = self._folder / f"{lora_id}{SUFFIX}" if self._folder else None
        if path is None or not path.exists():
            self._forget(lora_id)
            raise LoraUnknown(f"This model has no LoRA {lora_id}.", param="lora")
        if not self._names.components:
            raise LoraInvalid("This model was compiled without LoRA.", param="lora")
        return path

    def _read(self, lora_id: str, path: Path, look: Look) -> LoraFile:
        try:
            file = read_lora(path, self._names)
        except LoraInvalid as error:
            with self._lock:
                self._verdicts[lora_id] = _Verdict(look, None, error.message)
                self._files.pop(lora_id, None)
            raise
        with self._lock:
            self._verdicts[lora_id] = _Verdict(look, file.facts(), "")
            self._files[lora_id] = file
            self._files.move_to_end(lora_id)
            while len(self._files) > 1 and sum(each.resident_bytes for each in self._files.values()) > self._keep_bytes:
                self._files.popitem(last=False)
        return file

    def _forget(self, lora_id: str) -> None:
        with self._lock:
            self._verdicts.pop(lora_id, None)
            self._files.pop(lora_id, None)


def _look(path: Path) -> Look:
    return tuple(_stat(each) for each in (path, path.with_suffix(".sha256")))


def _settled(look: Look) -> bool:
    now = time.time()
    return all(abs(now - facts[2] / 1e9) > SETTLING_SECONDS for facts in look if facts)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
