"""More requests at once than may be: who is too many is told when to come back, before anything is kept of it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .conftest import StartGateway, draw
from .stand_ins import StandIns


def test_no_more_is_answered_at_once_than_may_be_whatever_it_waits_for(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    gateway = start_gateway(requests_at_once=2)
    stages.behaviour.until_frames = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(draw, gateway, seed=seed) for seed in range(2)]
        while "bowerbird_requests_in_flight 3.0" not in gateway.get("/metrics").text:  # the two, and who asks for this
            time.sleep(0.01)
        refused = draw(gateway, seed=2)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "gateway_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert gateway.get("/readyz").is_success
        stages.behaviour.until_frames.set()
        assert all(each.result().is_success for each in held)
    assert draw(gateway, seed=2).is_success
