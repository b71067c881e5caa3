"""How long each route of the table takes, one caller asking again and again: a line for each, none can be forgotten.

What a path names is made first, by the route that makes it; what ends with being asked for (a deletion, a cancel, a
rotation) is made anew before each time, which is not counted. Light stages answer at once, so that what is measured is
the gateway; a route whose work is theirs says what the chain costs without the models. An answer that is no success
ends the run: how long an error takes is not what a line is about.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from benchmarks.engine.goodput import percentile
from benchmarks.gateway import asked
from benchmarks.gateway.client import Answer, Client, client_of, request
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import KEYS, gateway, light_stages
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row
from bowerbird.gateway.api.operation import FORM, JSON, Operation
from bowerbird.gateway.api.operations import OPERATIONS

TIMES, FEW_TIMES = 300, 20
ADMIN = "benchmark-administrator-key"
STAGES = Spec(slots=64, step_seconds=0.0)
SETTINGS = {
    "admin_keys": json.dumps([ADMIN]),
    "result_bytes": "0",
    "scaler_port": "0",  # pods are asked for where an autoscaler may ask
    "webhook_networks": '["127.0.0.0/8"]',  # light stages take webhooks too
    "webhook_plain_http": "true",
}
SUCCESS, FINISHED = frozenset({200, 202}), 409
TRIES = 100
"""What is to be cancelled may have finished by itself: then another is made."""
HEAVY = frozenset(
    {
        "erase_person",
        "erase_subject",
        "export_person",
        "export_subject",
        "create_batch",
        "create_video",
        "delete_video",
        "draw_species_clip",
        "get_archive",
    }
)
"""What begins work that goes on after the answer, or takes a second, is asked a few times only, after everything
else."""
ENDING = (
    "cancel_job",
    "cancel_batch",
    "delete_file",
    "delete_webhook_endpoint",
    "delete_export",
    "delete_video",
    "revoke_key",
    "rotate_key",
)
"""What ends with being asked for."""
REMOVED = {"create_webhook_endpoint": ("delete_webhook_endpoint", "webhook_endpoint_id")}
"""What a tenant may have few of -> what takes it away again, and by which name; that is not counted either."""
LINE = {"custom_id": "1", "method": "POST", "url": "/v1/moderations", "body": {"input": "a robin"}}
SIDE = 192
"""Pixels: a file of 110 kB, as a picture of 256 pixels would be."""


def _picture() -> bytes:
    """A PNG of noise."""
    written = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(written, "PNG")
    return written.getvalue()


PICTURE = _picture()
FILES = {"image": PICTURE, "file": PICTURE}


@dataclass(frozen=True, slots=True)
class Maker:
    """How a thing that a path names is made."""

    operation: str
    body: Callable[[dict[str, str]], dict[str, Any]]
    headers: dict[str, str]


MAKERS = {
    "job": Maker("generate", lambda _: {"prompt": asked.PROMPT}, {"Prefer": "respond-async"}),
    "video": Maker("create_video", lambda _: {"prompt": asked.PROMPT, "seconds": 2, "fps": 8}, {}),
    "tenant": Maker("create_tenant", lambda _: {"id": f"t-{secrets.token_hex(8)}"}, {}),
    "key": Maker("create_key", lambda made: {"tenant": made["tenant"]}, {}),
    "webhook_endpoint_id": Maker(
        "create_webhook_endpoint",
        lambda made: {"name": "b", "url": made["receiver"], "event_types": ["batch.expired"]},
        {},
    ),
    "file_id": Maker("create_file", lambda _: {"purpose": "batch", "file": json.dumps(LINE)}, {}),
    "batch_id": Maker(
        "create_batch",
        lambda made: {"input_file_id": made["file_id"], "endpoint": LINE["url"], "completion_window": "24h"},
        {},
    ),
    "leaving": Maker("create_tenant", lambda _: {"id": f"t-{secrets.token_hex(8)}"}, {}),
    "erasure": Maker("erase_person", lambda _: {"safety_identifier": "leaving"}, {}),
    "export": Maker("export_person", lambda _: {"safety_identifier": "staying"}, {}),
    "admin_erasure": Maker("erase_subject", lambda made: {"tenant": made["leaving"]}, {}),
    "admin_export": Maker("export_subject", lambda made: {"tenant": made["tenant"]}, {}),
}
"""Name in a path (of an administrator's, `admin_…`) -> what makes it; in the order in which they need each other. Who
is erased (`leaving`) is nobody whose exports or keys are asked for."""
FITTED: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "create_tenant": lambda _: {"id": f"t-{secrets.token_hex(8)}"},
    "create_key": lambda made: {"tenant": made["tenant"]},
    "create_batch": lambda made: {"input_file_id": made["file_id"], "endpoint": LINE["url"]},
    "give_feedback": lambda made: {"request_id": made["request_id"]},
}
"""Operation -> what of its example must name something that there is."""
BY_NAME = {each.handler.__name__: each for each in OPERATIONS}


def measure(scale: Scale) -> Iterator[Row]:
    """A line for each operation of the table."""
    with light_stages(STAGES) as stages, gateway(stages, sampled=False, **SETTINGS) as running:
        for operation, answers in asyncio.run(_asked(scale, running.url, f"{stages.url}/hook")):
            yield row(operation, answers)


def row(operation: Operation, answers: list[Answer]) -> Row:
    """Median and 99th percentile."""
    milliseconds = [1e3 * each.seconds for each in answers]
    p50, p99 = percentile(milliseconds, 50), percentile(milliseconds, 99)
    return Row(
        "routes",
        f"{operation.method} {operation.documented_path}",
        "one caller",
        "",
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        None,
        note=f"{len(answers)} requests",
        details={"p50_ms": p50, "p99_ms": p99},
    )


async def _asked(scale: Scale, url: str, receiver: str) -> list[tuple[Operation, list[Answer]]]:
    measured = []
    async with client_of(url) as client:
        made = {"receiver": receiver}
        for name, maker in MAKERS.items():
            if maker.operation in BY_NAME:
                made[name] = await _made(client, name, made)
        for job in (made["job"], made["video"]):
            await client.ask(request("GET", f"/v1/jobs/{job}/events", headers=asked.with_key()))  # until it ends
        drawn = await client.ask(asked.picture(asked.SEED))
        models = await client.ask(request("GET", "/v1/models", headers=asked.with_key()))
        made |= {"request_id": drawn.headers["x-request-id"], "model": models.json()["data"][0]["id"]}
        for operation in sorted(OPERATIONS, key=_is_heavy):
            times = 2 if scale.small else FEW_TIMES if _is_heavy(operation) else TIMES
            measured.append((operation, [await _once(client, operation, made) for _ in range(times)]))
    return sorted(measured, key=lambda each: OPERATIONS.index(each[0]))


def _is_heavy(operation: Operation) -> bool:
    return operation.handler.__name__ in HEAVY


async def _once(client: Client, operation: Operation, made: dict[str, str]) -> Answer:
    """A success; raises RuntimeError for anything else."""
    name = operation.handler.__name__
    named = {**made, "species": "american-robin"}
    if operation.path.startswith("/v1/admin"):
        named |= {each.removeprefix("admin_"): made[each] for each in made if each.startswith("admin_")}
    body = dict(operation.example or {}) | (FITTED[name](made) if name in FITTED else {})
    for _ in range(TRIES):
        if name in ENDING:
            named |= await _anew(client, operation, made)
        answer = await client.ask(_request(operation, body, named))
        if name not in ENDING or answer.status != FINISHED:
            break
    if answer.status not in SUCCESS:
        what = f"{operation.method} {operation.documented_path}"
        raise RuntimeError(f"{what} was not answered: {answer.status} {answer.body.decode()[:200]}")
    if name in REMOVED:
        remover, called = REMOVED[name]
        await client.ask(_request(BY_NAME[remover], {}, {called: str(answer.json()["id"])}))
    return answer


async def _anew(client: Client, operation: Operation, made: dict[str, str]) -> dict[str, str]:
    """Another of what ends by this operation, under its name in the path."""
    ends = next(each for each in reversed(MAKERS) if f"{{{each}}}" in operation.documented_path)
    admins = f"admin_{ends}"
    maker = admins if operation.path.startswith("/v1/admin") and admins in MAKERS else ends
    return {ends: await _made(client, maker, made)}


async def _made(client: Client, name: str, made: dict[str, str]) -> str:
    maker = MAKERS[name]
    answer = await client.ask(_request(BY_NAME[maker.operation], maker.body(made), made, maker.headers))
    if answer.status not in (200, 202):
        raise RuntimeError(f"no {name} was made: {answer.status} {answer.body.decode()[:200]}")
    return str(answer.json()["id"])


def _request(
    operation: Operation, body: dict[str, Any], named: dict[str, str], headers: dict[str, str] | None = None
) -> bytes:
    path = operation.documented_path
    for name, value in named.items():
        path = path.replace(f"{{{name}}}", value)
    key = ADMIN if path.startswith("/v1/admin") else KEYS[0]
    stated = {"Authorization": f"Bearer {key}", **(headers or {})}
    if operation.body is None or operation.body_media_type == JSON:
        return request(operation.method, path, body if operation.body else None, stated)
    return _form(operation, path, body, stated)


def _form(operation: Operation, path: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """A form with its files, ready to be written."""
    assert operation.body_media_type == FORM  # noqa: S101 - there is no other kind of body
    described = operation.body.model_fields if operation.body else {}
    files = {name: content for name, content in FILES.items() if name in described}
    texts = {name: str(value) for name, value in body.items() if name not in files}
    if "purpose" in described:
        files, texts = {"file": str(body["file"]).encode()}, {"purpose": "batch"}
    form = httpx2.Request("POST", f"http://benchmark{path}", data=texts, files=files, headers=headers)
    form.read()
    lines = [f"{name}: {value}" for name, value in form.headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines]).encode() + b"\r\n\r\n" + form.content
