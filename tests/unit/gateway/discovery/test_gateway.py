"""A gateway whose stages' pods come, drain and go, as Kubernetes says; and sleep while nobody needs them."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from sqlalchemy import URL
from starlette.applications import Starlette

from bowerbird.gateway.demand import external_scaler_pb2 as wire
from bowerbird.gateway.demand.scaler import SERVICE as SCALER
from bowerbird.gateway.discovery.discovery import services_of
from bowerbird.gateway.records.database import FILE_NAME
from bowerbird.gateway.upstream import Stage
from bowerbird.settings import DemandSchedule

from ..conftest import PROMPT, closed_url, draw, pictures
from ..identity.gateways import ADMIN, Administrator
from ..stand_ins import frame
from .pods import SERVICES, Pods, chain, until


def until_kept(home: Path) -> None:
    """Until what text-to-image draws with stands in the database: a gateway writes it in the background."""
    with closing(sqlite3.connect(home / FILE_NAME)) as database:
        while not database.execute("SELECT count(*) FROM stage_descriptions").fetchone()[0]:
            time.sleep(0.01)


READY = dict.fromkeys(SERVICES[:3], "ready")


def test_pods_are_found_and_new_ones_get_work(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    first = chain(pods)
    gateway = start()
    until(gateway, READY)
    assert pictures(draw(gateway, seed=5)) == [frame(5, 3_200)]

    others = {service: pods.start(service, f"{service}-1") for service in SERVICES[:3]}
    while not others["text-to-image"].asked("/draw"):
        assert draw(gateway).status_code == 200
    for service in SERVICES[:3]:
        pods.remove(f"{service}-0")
    while first["text-to-image"].asked("/draw") or first["safety"].asked("/check_prompt"):
        first["text-to-image"].seen.clear()
        first["safety"].seen.clear()
        assert draw(gateway).status_code == 200
    assert others["curation"].asked("/publish")


def test_a_pod_that_drains_finishes_its_picture_and_gets_no_other(
    pods: Pods, start: Callable[..., httpx2.Client], behind: Callable[..., Future[httpx2.Response]]
) -> None:
    old = chain(pods)["text-to-image"]
    gateway = start()
    until(gateway, READY)
    old.behaviour.until_frames = threading.Event()
    held = behind(gateway, seed=5)
    while not old.asked("/draw"):
        time.sleep(0.002)
    pods.drain("text-to-image-0")
    until(gateway, {"text-to-image": "unreachable"})
    new = pods.start("text-to-image", "text-to-image-1")
    assert draw(gateway, seed=6).status_code == 200
    assert (len(old.asked("/draw")), len(new.asked("/draw"))) == (1, 1)
    old.behaviour.until_frames.set()
    assert pictures(held.result()) == [frame(5, 3_200)]
    assert len(new.asked("/draw")) == 1, "it was drawn where it was begun"


def test_a_stage_that_the_release_does_not_have_is_no_service() -> None:
    urls = {Stage.SAFETY: ("http://safety.birds.svc:3000",), Stage.ANIMATION: ("http://127.0.0.1:8003",)}
    assert services_of(urls) == {Stage.SAFETY: "safety"}


def test_while_the_api_server_is_away_pictures_are_drawn(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    chain(pods)
    gateway = start()
    until(gateway, READY)
    pods.cluster.away = True
    assert [draw(gateway).status_code for _ in range(3)] == [200] * 3


def test_one_request_wakes_the_whole_chain_and_is_answered_when_it_is_there(
    pods: Pods, start: Callable[..., httpx2.Client], behind: Callable[..., Future[httpx2.Response]]
) -> None:
    gateway = start(stages_asleep=frozenset(SERVICES[:3]))
    until(gateway, dict.fromkeys(SERVICES[:3], "asleep"))
    held = behind(gateway, seed=5)
    time.sleep(0.1)
    assert not held.done()
    chain(pods)
    assert pictures(held.result()) == [frame(5, 3_200)]

    for service in SERVICES[:3]:
        pods.remove(f"{service}-0")
    until(gateway, dict.fromkeys(SERVICES[:3], "asleep"))
    assert draw(gateway, model="unknown").status_code == 404, "what it drew with is known while it sleeps"


def test_who_streams_is_told_that_it_wakes(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    gateway = start(stages_asleep=frozenset(SERVICES[:3]))
    phases: list[str] = []
    said = ""
    with gateway.stream("POST", "/v1/images/generations", json={"prompt": PROMPT, "stream": True}) as stream:
        for line in stream.iter_lines():
            said += line
            if line.startswith(": "):
                phases.append(json.loads(line[2:])["phase"])
                if len(phases) == 1:
                    chain(pods)
    assert phases[0] == "wake.decide"
    assert "event: image_generation.completed" in said


def test_a_gateway_that_starts_beside_a_sleeping_model_knows_what_it_draws_with(
    pods: Pods, start: Callable[..., httpx2.Client], tmp_path: Path
) -> None:
    chain(pods)
    gateway = start(stages_asleep=frozenset(SERVICES[:3]))
    until(gateway, READY)
    model = gateway.get("/v1/models").json()
    until_kept(tmp_path / "home")
    for service in SERVICES[:3]:
        pods.remove(f"{service}-0")
    again = start(stages_asleep=frozenset(SERVICES[:3]))
    until(again, dict.fromkeys(SERVICES[:3], "asleep"))
    assert again.get("/v1/models").json() == model


def test_what_does_not_wake_in_time_says_how_far_it_came(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    gateway = start(stages_asleep=frozenset(SERVICES[:3]), wake_seconds=0.2)
    answer = draw(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stage_unavailable")
    assert answer.json()["error"]["phase"] == "decide"
    assert int(answer.headers["retry-after"]) >= 1


def test_who_waits_for_a_chain_that_sleeps_is_sent_elsewhere_when_the_gateway_ends(
    start: Callable[..., httpx2.Client], apps: list[Starlette], behind: Callable[..., Future[httpx2.Response]]
) -> None:
    gateway = start(stages_asleep=frozenset(SERVICES[:3]))
    until(gateway, dict.fromkeys(SERVICES[:3], "asleep"))
    held = [behind(gateway, seed=5), behind(gateway, headers={"Prefer": "respond-async"})]
    apps[0].state.gateway.demand.stop(0)
    for each in held:
        answer = each.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway_stopping"), answer.text
        assert int(answer.headers["retry-after"]) >= 1


def test_a_job_waits_for_a_chain_that_sleeps(pods: Pods, start: Callable[..., httpx2.Client]) -> None:
    chain(pods)
    gateway = start(stages_asleep=frozenset({"text-to-image", "curation"}))
    until(gateway, READY)
    for service in ("text-to-image", "curation"):
        pods.remove(f"{service}-0")
    until(gateway, {"text-to-image": "asleep", "curation": "asleep"})
    job = draw(gateway, headers={"Prefer": "respond-async"}).json()["id"]
    while not str(gateway.get(f"/v1/jobs/{job}").json()["phase"]).startswith("wake"):
        time.sleep(0.01)
    assert gateway.get(f"/v1/jobs/{job}").json()["reason"] is None, "it is on its way"
    chain(pods, "safety")
    while gateway.get(f"/v1/jobs/{job}").json()["status"] != "succeeded":
        time.sleep(0.01)
    assert gateway.get(f"/v1/jobs/{job}").json()["attempts"] == 1


def test_a_job_says_what_keeps_the_chain_from_waking_between_its_attempts_too(
    pods: Pods, start: Callable[..., httpx2.Client]
) -> None:
    chain(pods)
    gateway = start(stages_asleep=frozenset({"text-to-image"}))
    until(gateway, READY)
    pods.remove("text-to-image-0")
    until(gateway, {"text-to-image": "asleep"})
    pods.cluster.put("deployments", "text-to-image", spec={"replicas": 0})
    paused = {"annotations": {"autoscaling.keda.sh/paused": "true"}}
    pods.cluster.put("scaledobjects", "text-to-image", metadata=paused)
    job = draw(gateway, headers={"Prefer": "respond-async"}).json()["id"]
    while gateway.get(f"/v1/jobs/{job}").json()["reason"] is None:
        time.sleep(0.01)
    while (said := gateway.get(f"/v1/jobs/{job}").json())["status"] != "queued":
        time.sleep(0.01)
    assert (said["phase"], said["reason"].partition(":")[0]) == (None, "Paused")
    pods.cluster.put("scaledobjects", "text-to-image")
    chain(pods, "safety", "curation")
    while (said := gateway.get(f"/v1/jobs/{job}").json())["status"] != "succeeded":
        time.sleep(0.01)
    assert said["reason"] is None


@pytest.mark.parametrize("wanted_by", ["a floor", "a schedule", "a request of the administrator"])
def test_pods_that_are_wanted_whatever_the_work_come_where_keda_does_not_make_them(
    pods: Pods, start: Callable[..., httpx2.Client], monkeypatch: pytest.MonkeyPatch, wanted_by: str
) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.climb.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("bowerbird.gateway.demand.climb.FIRST_POD_SECONDS", 0.05)
    for service in SERVICES[:3]:
        pods.cluster.put("deployments", service, spec={"replicas": 0})
        pods.cluster.put("scaledobjects", service)
    always = DemandSchedule(service="safety", cron="* * * * *", seconds=3600, pods=2)
    settings: dict[str, dict[str, Any]] = {
        "a floor": {"demand_floors": {"safety": 1}},
        "a schedule": {"demand_schedules": (always,)},
    }
    asleep = {"stages_asleep": frozenset(SERVICES[:3]), "admin_keys": frozenset({ADMIN})}
    gateway = start(**asleep, **settings.get(wanted_by, {}))
    if wanted_by not in settings:
        Administrator(gateway).done("POST", "/demand", service="safety", pods=1, seconds=60)
    while not pods.cluster.patches:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [path for path, _ in pods.cluster.patches] == ["deployments/safety/scale"], "once, and no other"
    assert 'bowerbird_first_pods_total{service="safety"} 1.0' in gateway.get("/metrics").text


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_keda_hears_at_one_gateway_of_what_another_has_admitted(
    start: Callable[..., httpx2.Client],
    apps: list[Starlette],
    behind: Callable[..., Future[httpx2.Response]],
    url: URL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.sharing.SHARE_SECONDS", 30.0)  # what is told at once is all there is
    address = closed_url().removeprefix("http://")
    together = {"database_url": url.render_as_string(hide_password=False), "stages_asleep": frozenset(SERVICES[:3])}
    holds_the_stream = start(scaler_port=int(address.rpartition(":")[2]), **together)
    admits = start(scaler_port=0, **together)
    for gateway in (holds_the_stream, admits):
        until(gateway, dict.fromkeys(SERVICES[:3], "asleep"))
    with grpc.insecure_channel(address) as channel:
        streams = [stream_of(channel, service) for service in SERVICES[:3]]
        assert not any(is_active(channel, service) for service in SERVICES)
        held = behind(admits, seed=5)
        assert [next(stream).result for stream in streams] == [True] * 3
        assert [is_active(channel, service) for service in SERVICES] == [True, True, True, False], (
            "no clip is asked for"
        )
        assert not held.done()
        for stream in streams:
            stream.cancel()
    apps[1].state.gateway.demand.stop(0)
    assert held.result().json()["error"]["code"] == "gateway_stopping"


def stream_of(channel: grpc.Channel, service: str) -> Any:
    """What KEDA is told of a service, as it is told."""
    serialize, parse = wire.ScaledObjectRef.SerializeToString, wire.IsActiveResponse.FromString
    stream = channel.unary_stream(SCALER + "StreamIsActive", serialize, parse)(wire.ScaledObjectRef(name=service))
    stream.initial_metadata()  # it is open
    return stream


def is_active(channel: grpc.Channel, service: str) -> bool:
    """What KEDA is answered."""
    serialize, parse = wire.ScaledObjectRef.SerializeToString, wire.IsActiveResponse.FromString
    answer = channel.unary_unary(SCALER + "IsActive", serialize, parse)(wire.ScaledObjectRef(name=service), timeout=10)
    return bool(answer.result)
