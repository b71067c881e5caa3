"""How long each route of the table takes, one caller asking again and again: a line for each, none can be forgotten.

What a path names is made first, by the route that makes it; what ends with being asked for (a deletion, a cancel, a
rotation) is made anew before each time, which is not counted. Light stages answer at once, so that what is measured is
the gateway; a route whose work is theirs says what the chain costs without the models.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

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
WAITED_FOR = frozenset({"try_webhook_endpoint"})
"""What takes as long as a stranger's server does is not asked."""
HEAVY = frozenset({"erase_person", "erase_subject", "export_person", "export_subject", "create_batch"})
"""What begins work that goes on after the answer is asked a few times only."""
ENDING = (
    "cancel_job",
    "cancel_batch",
    "delete_file",
    "delete_webhook_endpoint",
    "delete_export",
    "revoke_key",
    "rotate_key",
)
"""What ends with being asked for."""
REMOVED = {"create_webhook_endpoint": ("delete_webhook_endpoint", "webhook_endpoint_id")}
"""What a tenant may have few of -> what takes it away again, and by which name; that is not counted either."""
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(2_000)
LINE = {"custom_id": "1", "method": "POST", "url": "/v1/moderations", "body": {"input": "a robin"}}
FILES = {"image": PICTURE, "file": PICTURE}


@dataclass(frozen=True, slots=True)
class Maker:
    """How a thing that a path names is made."""

    operation: str
    body: Callable[[dict[str, str]], dict[str, Any]]
    headers: dict[str, str]


MAKERS = {
    "job": Maker("generate", lambda _: {"prompt": asked.PROMPT}, {"Prefer": "respond-async"}),
    "tenant": Maker("create_tenant", lambda _: {"id": f"t-{secrets.token_hex(8)}"}, {}),
    "key": Maker("create_key", lambda made: {"tenant": made["tenant"]}, {}),
    "webhook_endpoint_id": Maker(
        "create_webhook_endpoint",
        lambda _: {"name": "b", "url": "https://birds.example/hook", "event_types": ["batch.expired"]},
        {},
    ),
    "file_id": Maker("create_file", lambda _: {"purpose": "batch", "file": json.dumps(LINE)}, {}),
    "batch_id": Maker(
        "create_batch",
        lambda made: {"input_file_id": made["file_id"], "endpoint": LINE["url"], "completion_window": "24h"},
        {},
    ),
    "erasure": Maker("erase_person", lambda _: {"safety_identifier": "nobody"}, {}),
    "export": Maker("export_person", lambda _: {"safety_identifier": "nobody"}, {}),
    "admin_erasure": Maker("erase_subject", lambda made: {"tenant": made["tenant"]}, {}),
    "admin_export": Maker("export_subject", lambda made: {"tenant": made["tenant"]}, {}),
}
"""Name in a path (of an administrator's, `admin_…`) -> what makes it; in the order in which they need each other."""
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
    with light_stages(STAGES) as stages, gateway(stages, admin_keys=json.dumps([ADMIN]), result_bytes="0") as running:
        for operation, answers in asyncio.run(_asked(scale, running.url)):
            yield row(operation, answers)


def row(operation: Operation, answers: list[Answer]) -> Row:
    """Median and 99th percentile; statuses other than success are named."""
    milliseconds = [1e3 * each.seconds for each in answers]
    statuses = sorted({each.status for each in answers})
    p50, p99 = percentile(milliseconds, 50), percentile(milliseconds, 99)
    return Row(
        "routes",
        f"{operation.method} {operation.documented_path}",
        "one caller",
        "",
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        None,
        note=f"{len(answers)} requests, status {', '.join(map(str, statuses))}",
        details={"p50_ms": p50, "p99_ms": p99, "statuses": statuses},
    )


async def _asked(scale: Scale, url: str) -> list[tuple[Operation, list[Answer]]]:
    measured = []
    async with client_of(url) as client:
        made: dict[str, str] = {}
        for name, maker in MAKERS.items():
            if maker.operation in BY_NAME:
                made[name] = await _made(client, name, made)
        drawn = await client.ask(asked.picture(asked.SEED))
        models = await client.ask(request("GET", "/v1/models", headers=asked.with_key()))
        made |= {"request_id": drawn.headers["x-request-id"], "model": models.json()["data"][0]["id"]}
        for operation in OPERATIONS:
            name = operation.handler.__name__
            if name not in WAITED_FOR:
                times = 2 if scale.small else FEW_TIMES if name in HEAVY else TIMES
                measured.append((operation, [await _once(client, operation, made) for _ in range(times)]))
    return measured


async def _once(client: Client, operation: Operation, made: dict[str, str]) -> Answer:
    name = operation.handler.__name__
    named = {**made, "species": "american-robin"}
    administers = operation.path.startswith("/v1/admin")
    if administers:
        named |= {each.removeprefix("admin_"): made[each] for each in made if each.startswith("admin_")}
    if name in ENDING:
        ends = next(each for each in reversed(MAKERS) if f"{{{each}}}" in operation.documented_path)
        maker = f"admin_{ends}" if administers and f"admin_{ends}" in MAKERS else ends
        named[ends] = await _made(client, maker, made)
    body = dict(operation.example or {}) | (FITTED[name](made) if name in FITTED else {})
    answer = await client.ask(_request(operation, body, named))
    if name in REMOVED:
        remover, called = REMOVED[name]
        await client.ask(_request(BY_NAME[remover], {}, {called: str(answer.json()["id"])}))
    return answer


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
