"""What the gateway does while there is no slot: hold, order, refuse; and when an endpoint fails that had one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import httpx
import httpx2
import openai
import pytest
from starlette.responses import Response

from bowerbird.contracts import Picture
from bowerbird.errors import BowerbirdError, StageFull

from .conftest import PROMPT, StartGateway, closed_url, draw, pictures
from .identity.gateways import ADMIN, Administrator, bearer
from .leaving import leave_when
from .stand_ins import MODEL, StandIns, frame, served


@pytest.fixture
def behind() -> Iterator[Callable[..., Future[httpx2.Response]]]:
    """Sends a request and does not wait for its answer."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda *arguments, **fields: threads.submit(draw, *arguments, **fields)


@dataclass
class Second:
    """Another text-to-image endpoint, which misbehaves on its own."""

    stand_ins: StandIns
    url: str
    both_urls: str


@pytest.fixture
def second(_stand_ins: tuple[StandIns, str]) -> Iterator[Second]:
    other = StandIns()
    with served(other.app()) as url:
        yield Second(other, f"{url}/text-to-image", f"{_stand_ins[1]}/text-to-image/, {url}/text-to-image")


def figure(gateway: httpx2.Client, name: str) -> float:
    """A metric without labels, or of one labelled series."""
    [line] = [each for each in gateway.get("/metrics").text.splitlines() if each.startswith(f"{name} ")]
    return float(line.split()[1])


def is_said(gateway: httpx2.Client, name: str, value: float) -> bool:
    return figure(gateway, name) == value


def until(gateway: httpx2.Client, name: str, value: float) -> None:
    for _ in range(3000):
        if is_said(gateway, name, value):
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} did not become {value}")


def one_slot(stages: StandIns, seconds_per_step: float = 0.02) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"slots": 1})
    stages.behaviour.seconds_per_step = seconds_per_step


# ------------------------------------------------------------------------------------------------------- the queue


def test_no_more_is_sent_to_a_stage_than_it_has_slots_and_the_rest_waits(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    one_slot(stages)
    gateway = start_gateway()
    answers = [behind(gateway, seed=10 * seed) for seed in range(3)]
    until(gateway, "bowerbird_waiting_requests", 2)

    assert figure(gateway, "bowerbird_slots_held") == 1
    assert len(stages.asked("/draw")) == 1
    assert [pictures(each.result()) for each in answers] == [[frame(10 * seed, 3_200)] for seed in range(3)]
    assert figure(gateway, "bowerbird_waiting_requests") == figure(gateway, "bowerbird_slots_held") == 0
    assert figure(gateway, 'bowerbird_queue_seconds_count{class="interactive"}') == 3


def test_slot_is_free_when_the_drawing_ends_not_when_the_answer_is_there(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    gateway = start_gateway()
    held: list[float] = []

    def look(picture: Picture) -> Picture:
        held.append(figure(gateway, "bowerbird_slots_held"))
        return picture

    stages.behaviour.published = look
    assert draw(gateway).status_code == 200
    assert held == [0]


def test_tenant_that_has_its_part_of_the_queue_is_told_when_to_come_back(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    one_slot(stages, seconds_per_step=0.05)
    gateway = start_gateway(queue_requests=4, queue_tenant_part=0.25)
    answers = [behind(gateway)]
    until(gateway, "bowerbird_slots_held", 1)
    answers.append(behind(gateway))
    until(gateway, "bowerbird_waiting_requests", 1)
    refused = draw(gateway)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "tenant_queue_full")
    assert (refused.json()["error"]["bound"], refused.json()["error"]["limit"]) == ("requests", 1)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit"] == '"requests";r=0, "compute";r=49960'
    assert refused.headers["ratelimit-policy"].startswith('"requests";q=1;qu="concurrent-requests", "compute";q=50000')
    assert figure(gateway, 'bowerbird_refusals_total{reason="tenant_queue_full"}') == 1
    assert [each.result().status_code for each in answers] == [200, 200]
    assert answers[1].result().headers["ratelimit"] == '"requests";r=1, "compute";r=50000'


def test_quiet_tenant_is_served_beside_one_that_floods(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    one_slot(stages)
    gateway = start_gateway(api_keys=frozenset({"flood", "quiet"}))
    flood = [behind(gateway, headers={"Authorization": "Bearer flood"}) for _ in range(6)]
    until(gateway, "bowerbird_waiting_requests", 5)
    quiet = behind(gateway, headers={"Authorization": "Bearer quiet"})
    assert [each.result().status_code for each in (*flood, quiet)] == [200] * 7

    flows = [each.headers["bowerbird-flow"] for each in stages.asked("/draw")]
    [own] = [flow for flow in flows if flows.count(flow) == 1]
    assert flows.index(own) <= 3


def test_wait_has_an_end_that_says_when_to_come_back(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    one_slot(stages)
    stages.behaviour.until_frames = threading.Event()
    gateway = start_gateway(queue_timeout_seconds=0.3)
    first = behind(gateway)
    until(gateway, "bowerbird_slots_held", 1)
    late = draw(gateway)
    stages.behaviour.until_frames.set()

    assert (late.status_code, late.json()["error"]["code"]) == (429, "queue_timeout")
    assert int(late.headers["retry-after"]) >= 1
    assert first.result().status_code == 200, "its own drawing takes longer than it may wait: they are bounded apart"


def test_client_that_hangs_up_while_it_waits_leaves_the_queue(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    one_slot(stages, seconds_per_step=0.05)
    gateway = start_gateway()
    first = behind(gateway)
    until(gateway, "bowerbird_slots_held", 1)
    leave_when(partial(is_said, gateway, "bowerbird_waiting_requests", 1), gateway, prompt=PROMPT)
    until(gateway, "bowerbird_waiting_requests", 0)
    assert first.result().status_code == 200
    assert len(stages.asked("/draw")) == 1


def test_answer_comes_before_an_openai_client_stops_listening(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    said: list[httpx.Request] = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [said.append]})
    url = f"{str(gateway.base_url).rstrip('/')}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60, http_client=http) as client:
        for seconds in ("0.5", "5", "50"):  # a slow machine does not come to the drawing within the first
            with pytest.raises(openai.InternalServerError) as late:
                client.images.generate(prompt="a robin", extra_headers={"x-stainless-read-timeout": seconds})
            assert late.value.code == "deadline_exceeded"
            if stages.asked("/draw"):
                break
        assert stages.draws_stopped.wait(60)
        stages.behaviour.until_frames.set()
        assert client.images.generate(prompt="a robin").data
    assert float(said[-1].headers["x-stainless-read-timeout"]) == 60, "it says so by itself"


@pytest.mark.parametrize("foreign", ["soon", "-1", "0", "nan", "inf", "1e9", ""])
def test_read_timeout_that_makes_no_sense_is_no_deadline(gateway: httpx2.Client, foreign: str) -> None:
    assert draw(gateway, headers={"x-stainless-read-timeout": foreign}).status_code == 200


def test_stage_is_told_class_and_weight(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(tenant_weights={"local": 2.5})
    draw(gateway, headers={"Bowerbird-Class": "batch"})
    draw(gateway)

    told = [(each.headers["bowerbird-class"], each.headers["bowerbird-weight"]) for each in stages.asked("/draw")]
    assert told == [("batch", "2.5"), ("interactive", "2.5")]


def test_stage_is_told_the_weight_of_a_tenants_row_for_its_jobs_too(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    gateway = start_gateway(admin_keys=frozenset({ADMIN}))
    admin = Administrator(gateway)
    key = admin.key(admin.tenant(weight=2.5))
    for headers in ({}, {"Idempotency-Key": "k"}):
        assert draw(gateway, {**bearer(key), **headers}).status_code == 200

    assert [each.headers["bowerbird-weight"] for each in stages.asked("/draw")] == ["2.5", "2.5"]


# ---------------------------------------------------------------------------------------------------- full and dead


def die() -> bytes:
    raise ConnectionError("the process is gone")


def first_answers(*answers: BowerbirdError | Response) -> Callable[[StandIns], None]:
    """Has a stage give these answers to its first drawings, and then draw."""

    def install(stages: StandIns) -> None:
        left = list(answers)

        def answer() -> BowerbirdError | Response:
            if len(left) == 1:
                del stages.behaviour.answers["/draw"]
            return left.pop(0)

        stages.behaviour.answers["/draw"] = answer

    return install


def test_stage_that_is_full_after_all_is_asked_again(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway()
    first_answers(StageFull("All slots are taken.", retry_after_seconds=1))(stages)
    answer = draw(gateway, seed=5)

    assert pictures(answer) == [frame(5, 3_200)]
    assert len(stages.asked("/draw")) == 2
    assert figure(gateway, 'bowerbird_put_back_total{reason="full"}') == 1


def test_stage_that_stays_full_is_waited_for_no_longer_than_one_waits(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    stages.behaviour.answers["/draw"] = lambda: StageFull("All slots are taken.", retry_after_seconds=7)
    answer = draw(start_gateway(queue_timeout_seconds=0.3))

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_timeout")


def test_requests_go_to_the_least_loaded_endpoint(
    start_gateway: StartGateway, stages: StandIns, second: Second, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    stages.behaviour.seconds_per_step = second.stand_ins.behaviour.seconds_per_step = 0.02
    gateway = start_gateway(text_to_image_url=second.both_urls)
    until_both_draw(gateway, stages, second.stand_ins)
    stages.seen.clear()
    second.stand_ins.seen.clear()
    answers = [behind(gateway) for _ in range(6)]
    assert [each.result().status_code for each in answers] == [200] * 6

    assert len(stages.asked("/draw")) == len(second.stand_ins.asked("/draw")) == 3


def test_request_whose_endpoint_dies_is_drawn_by_another_to_the_same_picture(
    start_gateway: StartGateway, stages: StandIns, second: Second
) -> None:
    gateway = start_gateway(text_to_image_url=second.both_urls)
    for dying, drawing in ((stages, second.stand_ins), (second.stand_ins, stages)):
        until_both_draw(gateway, stages, second.stand_ins)
        dying.behaviour.after_frames = die
        stages.seen.clear()
        second.stand_ins.seen.clear()
        for _ in range(2):
            assert pictures(draw(gateway, seed=5, n=2)) == [frame(5, 3_200), frame(6, 3_200)]
        dying.behaviour.after_frames = None
        assert dying.asked("/draw")
        assert drawing.asked("/draw")
        assert len(stages.asked("/publish")) == 2


def test_endpoint_that_cannot_be_reached_is_no_loss_to_anybody(start_gateway: StartGateway, second: Second) -> None:
    gateway = start_gateway(text_to_image_url=f"{closed_url()},{second.url}")

    assert [draw(gateway).status_code for _ in range(4)] == [200] * 4
    assert gateway.get("/v1/loras").status_code == 200


def left_out(gateway: httpx2.Client) -> list[dict[str, str]]:
    """Endpoints of the model that are not asked, and why."""
    states = {each["name"]: each for each in gateway.get("/readyz").json()["stages"]}
    found: list[dict[str, str]] = states["text-to-image"]["left_out"]
    return found


def test_endpoint_with_another_model_draws_nothing_that_was_checked_against_this_one(
    start_gateway: StartGateway, stages: StandIns, second: Second
) -> None:
    second.stand_ins.behaviour.described = MODEL.model_copy(update={"digest": "sha256:" + "e" * 64})
    gateway = start_gateway(text_to_image_url=second.both_urls)
    while not left_out(gateway):
        time.sleep(0.02)

    assert [draw(gateway).status_code for _ in range(4)] == [200] * 4
    assert not second.stand_ins.asked("/draw")
    [other] = left_out(gateway)
    assert other["endpoint"] == urlsplit(second.url).netloc
    assert MODEL.digest in other["reason"]


# ---------------------------------------------------------------------------------------------------------- asleep


def asleep() -> Response:
    return Response(status_code=503)


def until_state(gateway: httpx2.Client, state: str) -> None:
    for _ in range(3000):
        if {each["state"] for each in gateway.get("/readyz").json()["stages"]} == {state}:
            return
        time.sleep(0.02)
    raise AssertionError(f"the stages did not become {state}")


def test_chain_that_sleeps_is_waited_for(
    start_gateway: StartGateway, stages: StandIns, behind: Callable[..., Future[httpx2.Response]]
) -> None:
    gateway = start_gateway()
    stages.behaviour.answers["/readyz"] = asleep
    until_state(gateway, "not_ready")
    answer = behind(gateway, seed=5)
    until(gateway, "bowerbird_waiting_requests", 1)
    assert not stages.asked("/draw")
    del stages.behaviour.answers["/readyz"]

    assert pictures(answer.result()) == [frame(5, 3_200)]


def test_what_sleeps_for_longer_than_one_waits_is_a_503_with_the_reason(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    gateway = start_gateway(queue_timeout_seconds=0.3)
    stages.behaviour.answers["/readyz"] = asleep
    until_state(gateway, "not_ready")
    answer = draw(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stage_unavailable")
    assert "is not ready and was waited for in vain" in answer.json()["error"]["message"]
    assert answer.json()["error"]["stage"] in {"safety", "curation"}
    assert int(answer.headers["retry-after"]) >= 1


def test_who_asks_before_the_gateway_has_seen_that_its_stages_are_there_is_answered(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    stages.behaviour.answers["/readyz"] = asleep
    gateway = start_gateway(ready=(), stage_poll_seconds=0.5)
    until_state(gateway, "not_ready")
    del stages.behaviour.answers["/readyz"]
    assert draw(gateway).status_code == 200


def test_model_that_has_been_gone_for_longer_than_one_waits_is_not_waited_for(start_gateway: StartGateway) -> None:
    with served(StandIns().app()) as url:
        gateway = start_gateway(text_to_image_url=f"{url}/text-to-image", queue_timeout_seconds=0.3)
        assert draw(gateway).status_code == 200
    for _ in range(200):
        answer = draw(gateway)
        assert (answer.status_code, answer.json()["error"]["stage"]) == (503, "text-to-image")
        if "is unreachable; try again" in answer.json()["error"]["message"]:
            return
    raise AssertionError("it is still waited for")


def until_both_draw(gateway: httpx2.Client, *stages: StandIns) -> None:
    """Waits until every endpoint draws, one that was ejected too."""
    for each in stages:
        each.seen.clear()
    for _ in range(3000):
        assert draw(gateway).status_code == 200
        if all(each.asked("/draw") for each in stages):
            return
        time.sleep(0.02)
    raise AssertionError("an endpoint was not asked again")
