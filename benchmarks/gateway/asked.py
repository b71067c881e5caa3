"""What the rows ask the gateway for, as bytes that are ready to be sent."""

from __future__ import annotations

from typing import Any

from benchmarks.gateway.client import Client, request
from benchmarks.gateway.processes import KEYS

GENERATIONS = "/v1/images/generations"
PROMPT = "an american robin perched on a branch in winter"
SEED = 7


def with_key(number: int = 0, **headers: str) -> dict[str, str]:
    """The headers of the `number`-th tenant."""
    return {"Authorization": f"Bearer {KEYS[number % len(KEYS)]}", **headers}


def picture(seed: int | None = None, tenant: int = 0, headers: dict[str, str] | None = None, **fields: Any) -> bytes:
    """A plain request for a picture; with the seed of an earlier one it is a hit."""
    body = {"prompt": PROMPT, **({} if seed is None else {"seed": seed}), **fields}
    return request("POST", GENERATIONS, body, with_key(tenant, **(headers or {})))


def submit(tenant: int = 0) -> bytes:
    """The same as a job, accepted when it is in the database."""
    return picture(tenant=tenant, headers={"Prefer": "respond-async"})


def status(job_id: str, tenant: int = 0) -> bytes:
    """How far is it?"""
    return request("GET", f"/v1/jobs/{job_id}", headers=with_key(tenant))


async def submitted(client: Client, tenant: int = 0) -> str:
    """The id of a new job."""
    answer = await client.ask(submit(tenant))
    if answer.status != 202:
        raise RuntimeError(f"a job was not accepted: {answer.status} {answer.body.decode()[:200]}")
    return str(answer.json()["id"])


async def stored(client: Client, tenant: int = 0) -> dict[str, str]:
    """Has the picture of SEED drawn and stored; the headers of a hit on it."""
    for _ in range(3):
        answer = await client.ask(picture(SEED, tenant))
        if answer.status != 200:
            raise RuntimeError(f"nothing was drawn: {answer.status} {answer.body.decode()[:200]}")
        if "hit" in answer.headers["cache-status"]:
            return answer.headers
    raise RuntimeError("the picture is not found again")
