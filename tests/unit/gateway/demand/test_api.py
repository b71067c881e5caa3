"""`/v1/admin/demand`: pods are asked for over the API, stand beside the work of gateways, and in the audit log."""

from __future__ import annotations

import time

import httpx2
import pytest

from ..conftest import StartGateway
from ..identity.gateways import ADMIN, Administrator


@pytest.fixture
def admin(start_gateway: StartGateway) -> Administrator:
    """Of a gateway that tells KEDA what is wanted, and wants one pod of curation at any time."""
    counting = {"scaler_port": 0, "demand_floors": {"curation": 1}}
    return Administrator(start_gateway(ready=(), admin_keys=frozenset({ADMIN}), **counting))


def wanted(admin: Administrator, source: str) -> dict[str, int]:
    found = admin.done("GET", "/demand")["data"]
    return {each["service"]: each["pods"] for each in found if each["source"] == source}


def test_pods_that_are_asked_for_are_wanted_for_a_while_beside_what_the_settings_want(admin: Administrator) -> None:
    now = time.time()
    made = admin.done("POST", "/demand", service="text-to-image", pods=3, seconds=600)
    assert (made["service"], made["source"], made["pods"]) == ("text-to-image", "prewarm", 3)
    assert now + 600 <= made["expires_at"] <= time.time() + 601
    assert wanted(admin, "prewarm") == {"text-to-image": 3}
    while not wanted(admin, "gateway"):  # its own rows are written within a second
        time.sleep(0.01)
    assert wanted(admin, "gateway") == {"curation": 1}


def test_what_is_asked_for_later_holds_and_none_takes_it_back(admin: Administrator) -> None:
    for pods in (3, 1, 0):
        admin.done("POST", "/demand", service="safety", pods=pods, seconds=60)
        assert wanted(admin, "prewarm") == ({"safety": pods} if pods else {})
    entries = admin.done("GET", "/audit")["data"]
    assert [(each["action"], each["subject"], each["before"], each["after"]["pods"]) for each in entries] == [
        ("demand.prewarm", "safety", {"pods": before}, after) for before, after in ((0, 3), (3, 1), (1, 0))
    ]


def test_a_service_that_is_none_is_refused_with_those_that_are(admin: Administrator) -> None:
    answer = admin.ask("POST", "/demand", service="painter", pods=1, seconds=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (httpx2.codes.BAD_REQUEST, "service")
    assert "animation, curation, safety, text-to-image" in error["message"]


def test_where_no_service_is_scaled_by_demand_nothing_is_wanted_and_nothing_can_be(start_gateway: StartGateway) -> None:
    admin = Administrator(start_gateway(ready=(), admin_keys=frozenset({ADMIN})))
    assert admin.done("GET", "/demand")["data"] == []
    answer = admin.ask("POST", "/demand", service="safety", pods=1, seconds=60)
    assert answer.status_code == httpx2.codes.NOT_IMPLEMENTED
