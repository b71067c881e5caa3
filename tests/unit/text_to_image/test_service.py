"""The routes through an ASGI transport: what is said before the stream begins, and what the stream says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from safetensors.numpy import save_file
from starlette.applications import Starlette

from bowerbird.contracts import (
    CLASS_HEADER,
    DEADLINE_HEADER,
    FLOW_HEADER,
    MAX_FRAMES_PER_REQUEST,
    PROGRESS_HEADER,
    WEIGHT_HEADER,
    DrawDone,
    DrawProgress,
    FrameFacts,
    LoraCatalogue,
    ModelDescription,
    PreviewFacts,
    WorkClass,
)
from bowerbird.engine.bundle import Bundle
from bowerbird.frames import frames_of
from bowerbird.parts import CONTENT_TYPE, Kind, Part, read_parts

from ..engine.gated_backend import GatedBackend
from ..engine.tiny_bundle import LORA_MODULES, WIDTH, Tiny, write_tiny_bundle

PROMPT = "a small red bird"
DRAW = {
    "prompt": PROMPT,
    "size": {"width": 16, "height": 16},
    "steps": 3,
    "guidance_scale": 2,
    "seed": 7,
    "count": 2,
}
ONE = DRAW | {"count": 1}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


@pytest.fixture
async def client(app_of: Callable[..., Starlette], tiny_folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(tiny_folder)) as client:
        yield client


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the thread has no event for tests
            await asyncio.sleep(0.002)


async def parts_of(response: httpx.Response) -> list[Part]:
    return [each async for each in read_parts(response.aiter_bytes())]


async def test_a_drawing_is_progress_then_frames_then_done(client: httpx.AsyncClient, tiny_folder: Path) -> None:
    response = await client.post("/draw", json=DRAW)
    assert response.status_code == 200
    assert response.headers["content-type"] == CONTENT_TYPE
    parts = await parts_of(response)
    p, f = Kind.PROGRESS, Kind.FRAMES
    assert [each.kind for each in parts] == [p, p, p, p, f, p, p, p, f, Kind.DONE]  # a guided frame fills the batch
    assert [each.read(DrawProgress).step for each in parts if each.kind == p] == [0, 1, 2, 3, 1, 2, 3]
    facts = [FrameFacts.model_validate(each.facts) for each in parts if each.kind == f]
    assert [(each.index, each.seed) for each in facts] == [(0, 7), (1, 8)]
    done = parts[-1].read(DrawDone)
    assert done.digest == Bundle.open(tiny_folder).digest
    assert done.seeds == [7, 8]
    assert done.steps_computed == 6
    assert set(done.seconds) == {"queue", "encode_text", "denoise", "decode"}


async def test_of_its_steps_nothing_is_told_where_nobody_reads_it(client: httpx.AsyncClient) -> None:
    parts = await parts_of(await client.post("/draw", json=DRAW, headers={PROGRESS_HEADER: "none"}))
    assert [each.kind for each in parts] == [Kind.PROGRESS, Kind.FRAMES, Kind.FRAMES, Kind.DONE]


async def test_each_frame_is_a_raw_npy_of_one_picture(client: httpx.AsyncClient) -> None:
    parts = await parts_of(await client.post("/draw", json=DRAW))
    pictures = [frames_of(each.body) for each in parts if each.kind == Kind.FRAMES]
    assert [each.shape for each in pictures] == [(1, 16, 16, 3)] * 2
    assert not np.array_equal(pictures[0], pictures[1])


async def test_the_same_request_draws_the_same_bytes(client: httpx.AsyncClient) -> None:
    once, again = [await parts_of(await client.post("/draw", json=DRAW)) for _ in range(2)]
    assert [each.body for each in once if each.kind == Kind.FRAMES] == [
        each.body for each in again if each.kind == Kind.FRAMES
    ]


@pytest.mark.parametrize(
    ("different", "code", "param"),
    [
        ({"prompt": "red " * 7}, "prompt_too_long", "prompt"),
        ({"negative_prompt": "red " * 7}, "prompt_too_long", "negative_prompt"),
        ({"negative_prompt": "red", "guidance_scale": 1}, "unknown_parameter", "negative_prompt"),
        ({"prompt": ""}, "invalid_value", "prompt"),
        ({"size": {"width": 32, "height": 32}}, "unsupported_size", "size"),
        ({"size": {"width": 4, "height": 16}}, "invalid_value", "size.width"),
        ({"steps": 9}, "invalid_value", "steps"),
        ({"steps": 0}, "invalid_value", "steps"),
        ({"guidance_scale": 21}, "invalid_value", "guidance_scale"),
        ({"seed": 2**63}, "invalid_value", "seed"),
        ({"count": MAX_FRAMES_PER_REQUEST + 1}, "invalid_value", "count"),
        ({"sampler": "ddim"}, "invalid_value", "sampler"),
    ],
)
async def test_what_cannot_be_drawn_is_a_400_before_the_stream_begins(
    client: httpx.AsyncClient, different: dict[str, Any], code: str, param: str
) -> None:
    response = await client.post("/draw", json=DRAW | different)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert "red red" not in response.text


async def test_whether_a_prompt_is_read_whole_is_said_without_drawing(client: httpx.AsyncClient) -> None:
    assert (await client.post("/read_prompt", json={"prompt": PROMPT})).status_code == 200
    answer = await client.post("/read_prompt", json={"prompt": PROMPT * 20})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "prompt_too_long")


async def test_a_body_that_is_not_json_is_a_400(client: httpx.AsyncClient) -> None:
    response = await client.post("/draw", content=b"draw me a bird")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_value")


async def test_a_deadline_that_passes_ends_the_stream_with_an_error(
    app_of: Callable[..., Starlette], slow_folder: Path
) -> None:
    wanted = DRAW | {"size": {"width": 64, "height": 64}, "steps": 50, "count": MAX_FRAMES_PER_REQUEST}
    async with client_of(app_of(slow_folder)) as client:
        parts = await parts_of(await client.post("/draw", json=wanted, headers={DEADLINE_HEADER: "60"}))
    assert parts[0].read(DrawProgress).step == 0
    assert parts[-1].kind == Kind.ERROR
    assert json.loads(parts[-1].body)["error"]["code"] == "deadline_exceeded"


async def test_a_deadline_that_cannot_be_met_is_a_503_before_the_stream_begins(
    app_of: Callable[..., Starlette], slow_folder: Path
) -> None:
    app = app_of(slow_folder)
    app.state.executor.engine.warm_up()
    wanted = DRAW | {"size": {"width": 64, "height": 64}, "steps": 50, "count": MAX_FRAMES_PER_REQUEST}
    async with client_of(app) as client:
        response = await client.post("/draw", json=wanted, headers={DEADLINE_HEADER: "1"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (CLASS_HEADER, "urgent"),
        (WEIGHT_HEADER, "0"),
        (WEIGHT_HEADER, "101"),
        (WEIGHT_HEADER, "nan"),
        (WEIGHT_HEADER, "heavy"),
        (FLOW_HEADER, "x" * 201),
        (DEADLINE_HEADER, "soon"),
    ],
)
async def test_a_header_that_is_not_understood_is_a_400_that_names_it(
    client: httpx.AsyncClient, header: str, value: str
) -> None:
    response = await client.post("/draw", json=DRAW, headers={header: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"].lower() == header


async def test_class_flow_and_weight_reach_the_scheduler(app_of: Callable[..., Starlette], tiny_folder: Path) -> None:
    backend = GatedBackend()
    app = app_of(tiny_folder, backend)
    stated = {CLASS_HEADER: "batch", FLOW_HEADER: "tenant-7", WEIGHT_HEADER: "2.5", DEADLINE_HEADER: "9000"}
    async with client_of(app) as client:
        asked = asyncio.create_task(client.post("/draw", json=ONE, headers=stated))
        await until(lambda: bool(backend.begun))
        (work,) = app.state.executor._jobs
        backend.allowed.release(3)
        assert (await asked).status_code == 200
    claim = work.claim
    assert (claim.work_class, claim.flow, claim.weight) == (WorkClass.BATCH, "tenant-7", 2.5)


async def test_requests_share_steps_and_the_next_one_is_refused_at_once(
    app_of: Callable[..., Starlette], tiny_folder: Path
) -> None:
    backend = GatedBackend()
    async with client_of(app_of(tiny_folder, backend)) as client:
        asked = [asyncio.create_task(client.post("/draw", json=ONE | {"seed": seed})) for seed in (1, 2)]
        await until(lambda: bool(backend.begun))
        refused = await client.post("/draw", json=ONE)
        backend.allowed.release(20)
        answers = await asyncio.gather(*asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "stage_full")
    assert refused.headers["retry-after"].isdigit()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert 4 in backend.begun


async def test_batch_class_waits_while_an_interactive_request_is_here(
    app_of: Callable[..., Starlette], tiny_folder: Path
) -> None:
    backend = GatedBackend()
    app = app_of(tiny_folder, backend)
    async with client_of(app) as client:
        batch = {CLASS_HEADER: "batch"}
        patient = asyncio.create_task(client.post("/draw", json=ONE | {"guidance_scale": 1}, headers=batch))
        await until(lambda: bool(backend.begun))
        urgent = asyncio.create_task(client.post("/draw", json=ONE))
        await until(lambda: app.state.executor.free_slots == 0)
        backend.allowed.release(20)
        await asyncio.gather(patient, urgent)
    assert backend.begun == [1, 2, 2, 2, 1, 1]


async def test_previews_are_parts_with_their_facts_and_pixels(client: httpx.AsyncClient) -> None:
    wanted = ONE | {"steps": 5, "preview_steps": 2}
    parts = await parts_of(await client.post("/draw", json=wanted))
    p, v = Kind.PROGRESS, Kind.PREVIEW
    assert [each.kind for each in parts] == [p, p, p, v, p, p, v, p, Kind.FRAMES, Kind.DONE]
    previews = [each for each in parts if each.kind == v]
    facts = [PreviewFacts.model_validate(each.facts) for each in previews]
    assert [(each.index, each.step, each.steps) for each in facts] == [(0, 2, 5), (0, 4, 5)]
    assert {each.digest for each in facts} == {parts[-1].read(DrawDone).digest}
    assert frames_of(previews[0].body).shape[3] == 3
    assert "preview" in parts[-1].read(DrawDone).seconds


async def test_loras_are_listed_drawn_with_and_refused_by_name(
    app_of: Callable[..., Starlette], tmp_path: Path
) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    matrices = {
        f"denoiser.{module}.{key}.weight": np.full(shape, 0.5, np.float32)
        for module in LORA_MODULES
        for key, shape in (("lora_A", (2, WIDTH)), ("lora_B", (WIDTH, 2)))
    }
    save_file(matrices, loras / "ink.safetensors")
    (loras / "foreign.safetensors").write_bytes(b"not one of ours")
    folder = write_tiny_bundle(tmp_path / "bundle", Tiny(lora=True)).folder
    async with client_of(app_of(folder, loras=loras)) as client:
        catalogue = LoraCatalogue.model_validate_json((await client.get("/loras")).content)
        assert [(each.id, each.rank) for each in catalogue.loras] == [("ink", 2)]
        assert len(catalogue.refused) == 1
        assert ModelDescription.model_validate_json((await client.get("/describe")).content).max_lora_rank == 64
        plain, inked = [
            await parts_of(await client.post("/draw", json=ONE | {"lora": use}))
            for use in ([], [{"id": "ink", "weight": 1}])
        ]
        refused = await client.post("/draw", json=DRAW | {"lora": [{"id": "oil"}]})
    frames = [next(each.body for each in parts if each.kind is Kind.FRAMES) for parts in (plain, inked)]
    assert frames[0] != frames[1]
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "lora_not_found")


async def test_a_service_without_loras_says_so(client: httpx.AsyncClient) -> None:
    assert LoraCatalogue.model_validate_json((await client.get("/loras")).content).loras == []
    assert ModelDescription.model_validate_json((await client.get("/describe")).content).max_lora_rank == 0
    refused = await client.post("/draw", json=DRAW | {"lora": [{"id": "oil"}]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "lora_not_found")


async def test_a_picture_that_diverges_ends_the_stream_with_an_error_that_names_the_step(
    app_of: Callable[..., Starlette], tmp_path: Path
) -> None:
    broken = write_tiny_bundle(tmp_path / "broken", Tiny(gain=6e4)).folder
    async with client_of(app_of(broken)) as client:
        with np.errstate(over="ignore", invalid="ignore"):
            parts = await parts_of(await client.post("/draw", json=DRAW | {"steps": 8}))
    error = json.loads(parts[-1].body)["error"]
    assert error["code"] == "drawing_failed"
    assert "of 8" in error["message"]
    assert Kind.DONE not in {each.kind for each in parts}


async def test_the_description_is_the_bundles(client: httpx.AsyncClient, tiny_folder: Path) -> None:
    description = ModelDescription.model_validate_json((await client.get("/describe")).content)
    assert description.digest == Bundle.open(tiny_folder).digest
    assert (description.name, description.version, description.licence) == ("tiny", "1", "Apache-2.0")
    assert [str(size) for size in description.sizes] == ["16x16"]
    assert (description.max_steps, description.default_steps, description.max_prompt_tokens) == (8, 4, 6)
    assert description.slots == 2
    assert description.lineage == {"made": "by hand"}


async def test_what_requests_cost_is_described_once_it_was_measured(client: httpx.AsyncClient) -> None:
    assert ModelDescription.model_validate_json((await client.get("/describe")).content).costs is None
    await parts_of(await client.post("/draw", json=DRAW))

    costs = ModelDescription.model_validate_json((await client.get("/describe")).content).costs
    assert costs is not None
    assert costs.guided_rows == 2
    assert [str(each.size) for each in costs.sizes] == ["16x16"]
    assert costs.unit_seconds > 0
    assert costs.sizes[0].step > 0
    assert costs.sizes[0].decode > 0


async def test_every_step_is_a_span_in_the_callers_trace_and_no_span_holds_the_prompt(
    client: httpx.AsyncClient,
) -> None:
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    await parts_of(await client.post("/draw", json=DRAW, headers=CALLER))
    exporter.shutdown()
    spans = [each for each in exporter.get_finished_spans() if each.context.trace_id == int(TRACE_ID, 16)]
    names = [span.name for span in spans]
    assert names.count("denoise_step") == 6
    assert names.count("denoise") == 1
    assert names.count("decode") == 2
    by_id = {span.context.span_id: span for span in spans}
    step = next(span for span in spans if span.name == "denoise_step")
    assert step.parent is not None
    denoise = by_id[step.parent.span_id]
    assert denoise.name == "denoise"
    assert denoise.parent is not None
    assert by_id[denoise.parent.span_id].name.startswith("POST")
    assert PROMPT not in "".join(span.to_json() for span in spans)
