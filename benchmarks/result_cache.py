"""`python -m benchmarks.result_cache`: how often pictures need not be drawn, what is kept, and what a hit takes.

Three measurements. The replay asks a real result store (SQLite, files, on this disk) for prompts by Zipf's law, each
drawn once by bytes of a picture's size; the ideal is a miss for each prompt's first request. The eviction compares
GreedyDual-Size-Frequency with least-recently-used on the same requests for pictures of three sizes and three step
counts, in a store that is too small for all of them: hits, and the computing that they save. The hit asks the running
stack (`bowerbird up`) for a picture that it has, through safety's check, as a client sees it. Run it on an otherwise
idle machine.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import typer
from prometheus_client import CollectorRegistry

from benchmarks.results import record, show
from benchmarks.stack import stack
from bowerbird.contracts import CurationDescription
from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import database_url, open_database
from bowerbird.gateway.results.key import Recipe
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.results.metrics import ResultMetrics, Source
from bowerbird.gateway.results.result import Facts, Result
from bowerbird.gateway.results.results import Results, Wanted
from bowerbird.gateway.results.store import Keeping, ResultStore
from bowerbird.gateway.results.worth import Shelf

PROMPTS = 1_000
ZIPF_EXPONENT = 1.0
GOAL_HITS_PERCENT = 95.0
GOAL_HIT_MS = 10.0
PICTURE_BYTES = 110_000
"""Of a labelled PNG of 256 x 256 pixels."""
TTL_SECONDS = 30 * 86_400.0
SHARES = (0.05, 0.1, 0.25, 0.5)
"""How much of what all pictures take the store may hold, where eviction is measured."""
EDGES, STEPS = (256, 512, 1024), (4, 20, 50)
BYTES_PER_PIXEL = PICTURE_BYTES / 256**2
DIGEST = "sha256:" + "0" * 64
CURATION = CurationDescription(version="benchmark", judge="judge@1", certificate=DIGEST)
PROMPT = "an american robin perched on a branch in winter"


def main(
    requests: Annotated[int, typer.Option(help="of the replay", min=1_000)] = 50_000,
    hits: Annotated[int, typer.Option(help="asked of the running stack", min=10)] = 500,
) -> None:
    """Measures, prints tables, and writes `results/result_cache.json`."""
    asked = zipf(requests)
    replayed = asyncio.run(replay(asked))
    evicted = evictions(asked)
    hit = running_hits(hits)
    show(
        f"{requests} requests for {PROMPTS} prompts by Zipf's law (exponent {ZIPF_EXPONENT:g}), one after the other",
        ["", "measured", "goal"],
        [
            ["hits, %", replayed["hits_percent"], f"≥ {GOAL_HITS_PERCENT:g}"],
            ["hits if nothing is forgotten, %", replayed["ideal_percent"], ""],
            ["a hit in the gateway, ms: median", replayed["hit_ms"]["p50"], ""],
            ["p99", replayed["hit_ms"]["p99"], GOAL_HIT_MS],
            ["CPU", replayed["hit_cpu_ms"], ""],
        ],
    )
    show(
        "A store that is too small: GreedyDual-Size-Frequency against least recently used",
        ["store, % of all bytes", "GDSF hits %", "LRU hits %", "GDSF computing saved %", "LRU computing saved %"],
        [list(row.values()) for row in evicted],
    )
    show(
        f"The same picture {hits} times from the running stack, ms as the client sees them",
        ["", "median", "p99", "goal"],
        [[name, each["p50"], each["p99"], goal] for name, each, goal in _hit_rows(hit)],
    )
    print(f"written to {record('result_cache', {'replay': replayed, 'eviction': evicted, 'hit': hit}).name}")


def zipf(requests: int) -> list[int]:
    """Which prompt each request asks for: the k-th most popular with a chance proportional to 1 / k."""
    chances = 1 / np.arange(1, PROMPTS + 1) ** ZIPF_EXPONENT
    return [int(each) for each in np.random.default_rng(1).choice(PROMPTS, requests, p=chances / chances.sum())]


async def replay(asked: Sequence[int]) -> dict[str, Any]:
    """Hits, and what each of them takes, of a store that holds everything."""
    keeping = Keeping(PROMPTS * PICTURE_BYTES * 2, TTL_SECONDS)
    sources, milliseconds, cpu_seconds = [], [], 0.0
    async with AsyncExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-")))
        database = await opened.enter_async_context(open_database(database_url(None, home)))
        metrics = ResultMetrics(CollectorRegistry())
        store = ResultStore(database, FolderPictures(home / "pictures"), keeping, metrics)
        results = Results(store, b"benchmark" * 4, metrics)
        await opened.enter_async_context(results.running())
        for prompt in asked:
            began = time.perf_counter(), time.process_time()
            given = await results.give(wanted(prompt), drawn)
            sources.append(given.source)
            if given.source is Source.STORED:
                milliseconds.append((time.perf_counter() - began[0]) * 1000)
                cpu_seconds += time.process_time() - began[1]
            else:
                await results.settled()
    hits = sources.count(Source.STORED)
    return {
        "requests": len(asked),
        "hits_percent": round(100 * hits / len(asked), 2),
        "ideal_percent": round(100 * (1 - len(set(asked)) / len(asked)), 2),
        "hit_ms": quantiles(milliseconds),
        "hit_cpu_ms": round(cpu_seconds / hits * 1000, 3),
    }


def wanted(prompt: int) -> Wanted:
    """Any picture of a prompt."""
    recipe = Recipe(
        software="benchmark",
        tenant="local",
        policy=DIGEST,
        curation=CURATION.model_dump_json(),
        model=DIGEST,
        prompt=f"prompt {prompt}",
        negative_prompt=None,
        width=256,
        height=256,
        steps=20,
        guidance_scale=4.0,
        images=1,
        candidates=1,
        output_format="png",
        output_compression=100,
        loras=(),
    )
    return Wanted(recipe, prompt, Lookup.ANY, cost=40.0)


async def drawn() -> Result:
    """What stands for a picture: as many bytes, never twice the same."""
    facts = Facts(
        request_id="req",
        created=0,
        model="m",
        model_digest=DIGEST,
        policy=DIGEST,
        curation=CURATION,
        loras={},
        chosen=[],
    )
    return Result(facts, [os.urandom(PICTURE_BYTES)])


@dataclass(frozen=True)
class Kind:
    """What a prompt is asked for as: compute units (rows of steps at 256 x 256) and bytes of its picture."""

    cost: float
    bytes: int


def evictions(asked: Sequence[int]) -> list[dict[str, float]]:
    """Hits and computing saved by either policy, in stores of several sizes."""
    generator = np.random.default_rng(2)
    kinds = []
    for _ in range(PROMPTS):
        edge, steps = int(generator.choice(EDGES)), int(generator.choice(STEPS))
        kinds.append(Kind(2.0 * steps * (edge / 256) ** 2, int(edge**2 * BYTES_PER_PIXEL)))
    everything = sum(kind.bytes for kind in kinds)
    rows = []
    for share in SHARES:
        gdsf = saved(asked, kinds, by_worth(kinds, int(share * everything)))
        lru = saved(asked, kinds, by_recency(kinds, int(share * everything)))
        rows.append(
            {
                "store_percent": 100 * share,
                "gdsf_hits_percent": gdsf[0],
                "lru_hits_percent": lru[0],
                "gdsf_saved_percent": gdsf[1],
                "lru_saved_percent": lru[1],
            }
        )
    return rows


def by_worth(kinds: Sequence[Kind], max_bytes: int) -> Callable[[int], bool]:
    """Whether a prompt's picture is there; if not, it is then (`gateway.results.worth`)."""
    shelf = Shelf(max_bytes)

    def ask(prompt: int) -> bool:
        return shelf.use(str(prompt)) or not shelf.put(str(prompt), kinds[prompt].cost, kinds[prompt].bytes)

    return ask


def by_recency(kinds: Sequence[Kind], max_bytes: int) -> Callable[[int], bool]:
    """The same, where the least recently used makes room."""
    held: OrderedDict[int, int] = OrderedDict()

    def ask(prompt: int) -> bool:
        if prompt in held:
            held.move_to_end(prompt)
            return True
        held[prompt] = kinds[prompt].bytes
        while sum(held.values()) > max_bytes:
            held.popitem(last=False)
        return False

    return ask


def saved(asked: Sequence[int], kinds: Sequence[Kind], ask: Callable[[int], bool]) -> tuple[float, float]:
    """Percent of the requests that hit, and of all compute units that they did not take."""
    hit = [prompt for prompt in asked if ask(prompt)]
    units = sum(kinds[prompt].cost for prompt in asked)
    return round(100 * len(hit) / len(asked), 1), round(100 * sum(kinds[prompt].cost for prompt in hit) / units, 1)


def running_hits(count: int) -> dict[str, Any]:
    """Milliseconds of hits and of 304 answers of the running stack, and of the drawing that they spare."""
    fields = {"prompt": PROMPT, "seed": 7}
    with stack() as facts, httpx2.Client(base_url=facts["url"], timeout=120, trust_env=False) as client:
        began = time.perf_counter()
        first = client.post("/v1/images/generations", json=fields).raise_for_status()
        drawing = (time.perf_counter() - began) * 1000
        tag = {"If-None-Match": first.headers["etag"]}
        hits = [timed(client, fields, {}, 200) for _ in range(count)]
        unchanged = [timed(client, fields, tag, 304) for _ in range(count)]
        checks = [_stages(client.post("/v1/images/generations", json=fields))["check_prompt"] for _ in range(count)]
    return {
        "drawing_ms": round(drawing, 1),
        "hit_ms": quantiles(hits),
        "unchanged_ms": quantiles(unchanged),
        "of_it_check_prompt_ms": quantiles(checks),
    }


def timed(client: httpx2.Client, fields: dict[str, Any], headers: dict[str, str], status: int) -> float:
    """Milliseconds of one answer, which must have this status and come from the store."""
    began = time.perf_counter()
    answer = client.post("/v1/images/generations", json=fields, headers=headers)
    milliseconds = (time.perf_counter() - began) * 1000
    if answer.status_code != status or "hit" not in answer.headers["cache-status"]:
        raise SystemExit(f"this is no hit: {answer.status_code}, {answer.headers.get('cache-status')}")
    return milliseconds


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _stages(answer: httpx2.Response) -> dict[str, float]:
    timings = (each.split(";dur=") for each in answer.headers["server-timing"].split(", "))
    return {name: float(milliseconds) for name, milliseconds in timings}


def _hit_rows(hit: dict[str, Any]) -> list[tuple[str, dict[str, float], object]]:
    drawing = {"p50": hit["drawing_ms"], "p99": ""}
    return [
        ("drawn", drawing, ""),
        ("hit", hit["hit_ms"], GOAL_HIT_MS),
        ("hit, 304", hit["unchanged_ms"], ""),
        ("of a hit, safety's check of the prompt", hit["of_it_check_prompt_ms"], ""),
    ]


if __name__ == "__main__":
    typer.run(main)
