"""What somebody leaves behind at a gateway, and where it is found again: words, an identifier, and pictures' bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from ..conftest import draw, pictures
from ..identity.gateways import bearer
from ..jobs.submitting import ended, submit
from ..stand_ins import frame

FINISH_SECONDS = 60.0


@dataclass(frozen=True)
class Someone:
    """An end user whose every word is unusual."""

    identifier: str
    word: str
    seed: int
    key: str
    """Of the tenant."""

    @property
    def prompt(self) -> str:
        return f"a {self.word} perched on a branch"

    def needles(self) -> Mapping[str, bytes]:
        """What must not be found: the words, the identifier, the bytes of each picture, drawn with three seeds."""
        drawn = {f"picture {at}": frame(self.seed + at, 32) for at in range(3)}
        said = {"word": self.word, "opinion": self.opinion, "identifier": self.identifier}
        return {name: text.encode() for name, text in said.items()} | drawn

    @property
    def opinion(self) -> str:
        return f"the {self.word[::-1]} of it"

    @property
    def fields(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "safety_identifier": self.identifier}


@dataclass(frozen=True)
class Left:
    """What they got, by which an export is checked."""

    job: str
    job_pictures: list[bytes]
    cached: list[bytes]


def leave(gateway: httpx2.Client, who: Someone) -> Left:
    """They draw at once, as a job and under a key, and say what they think of it; everything that can be kept is."""
    headers = bearer(who.key)
    plain = draw(gateway, headers, seed=who.seed, **who.fields)
    assert plain.status_code == 200, plain.text
    keyed = {**headers, "Idempotency-Key": f"of {who.identifier}"}
    assert draw(gateway, keyed, seed=who.seed + 1, **who.fields).status_code == 200
    client = httpx2.Client(base_url=gateway.base_url, headers=headers, timeout=60)
    job_id = submit(client, seed=who.seed + 2, **who.fields)
    assert ended(client, job_id)["status"] == "succeeded"
    said = {"request_id": job_id, "kind": "like", "text": who.opinion, "safety_identifier": who.identifier}
    told = client.post("/v1/feedback", json=said, headers={"Idempotency-Key": f"said by {who.identifier}"})
    assert told.status_code == 200, told.text
    result = client.get(f"/v1/jobs/{job_id}/result")
    client.close()
    return Left(job_id, pictures(result), pictures(plain))


def until(fact: Any, seconds: float = 60.0) -> None:
    """Waits for it."""
    ends_at = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def found(folders: Iterable[Path], needles: Mapping[str, bytes]) -> set[str]:
    """Which of the needles stand in any file below the folders, byte for byte, in its name included."""
    seen: set[str] = set()
    for folder in folders:
        for file in folder.rglob("*"):
            if not file.is_file():
                continue
            try:
                body = file.read_bytes()
            except FileNotFoundError:
                continue
            seen |= {name for name, needle in needles.items() if needle in body or needle in str(file).encode()}
    return seen


def erased(gateway: httpx2.Client, key: str, path: str = "/v1/erasures", **asked: str) -> dict[str, Any]:
    """The erasure when it is finished."""
    answer = gateway.post(path, json=asked, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    return finished(gateway, key, answer.json()["id"], path)


def finished(gateway: httpx2.Client, key: str, erasure: str, path: str = "/v1/erasures") -> dict[str, Any]:
    ends_at = time.monotonic() + FINISH_SECONDS
    while True:
        told: dict[str, Any] = gateway.get(f"{path}/{erasure}", headers=bearer(key)).json()
        if told["status"] == "finished":
            return told
        assert time.monotonic() < ends_at, told
        time.sleep(0.02)
