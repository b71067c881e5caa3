"""Erased is gone from every byte that is kept: the tests look for it in the files, while the gateway runs."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx2
import pytest

from ..conftest import draw, pictures
from ..identity.gateways import ADMIN, bearer
from ..jobs.submitting import ended, holds_a_slot, submit
from ..stand_ins import StandIns, frame
from .conftest import Office, Place
from .traces import Someone, erased, finished, found, leave, until


def needles_of(*people: Someone) -> dict[str, bytes]:
    """Their words and pictures, without the identifier, which a namesake shares."""
    return {
        f"{who.word}: {name}": needle
        for who in people
        for name, needle in who.needles().items()
        if name != "identifier"
    }


def until_kept(office: Office, who: Someone) -> None:
    """Results are stored after their answer has left."""
    until(lambda: found(office.place.folders, who.needles()) == set(who.needles()))


@pytest.mark.parametrize("place", ["sqlite", "postgresql", "s3"], indirect=True)
def test_nothing_of_an_erased_person_is_left_in_any_file(office: Office) -> None:
    leave(office.client, office.them)
    kept = leave(office.client, office.colleague)
    leave(office.client, office.namesake)
    for who in (office.them, office.colleague, office.namesake):
        until_kept(office, who)
    done = erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert done["erased"] == {
        **{"feedback": 1, "idempotency_keys": 2, "jobs": 2, "pictures": 2},
        **{"cached_results": 3, "cached_pictures": 3},
    }
    assert done["rewritten"]
    assert found(office.place.folders, needles_of(office.them)) == set()
    assert found(office.place.folders, needles_of(office.colleague, office.namesake)) == set(
        needles_of(office.colleague, office.namesake)
    )
    result = office.client.get(f"/v1/jobs/{kept.job}/result", headers=bearer(office.colleague.key))
    assert pictures(result) == kept.job_pictures


def test_the_identifier_is_in_no_file_once_nobody_else_has_it_nor_was_it_in_the_log(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    leave(office.client, office.them)
    until_kept(office, office.them)
    erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert found(office.place.folders, office.them.needles()) == set()
    lines = [str(vars(record)) for record in caplog.records]
    assert any("/v1/erasures" in line for line in lines)
    assert not [line for line in lines if office.them.identifier in line or office.them.word in line]


def test_an_erasure_stands_in_the_audit_log_and_names_nobody(office: Office) -> None:
    leave(office.client, office.them)
    done = erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    log = office.admin.done("GET", "/audit", limit=100)["data"]
    begun, ended_ = (each for each in log if each["subject"] == done["id"])
    assert (begun["action"], ended_["action"]) == ("person.erase", "person.erased")
    assert begun["actor"] == ended_["actor"] == f"key:{office.admin.id_of(office.them.key)}"
    assert ended_["after"]["erased"] == done["erased"]
    assert begun["after"]["person"] == done["person"] is not None
    assert office.them.identifier not in json.dumps(log)


def test_nothing_of_an_erased_tenant_is_left_but_its_id_and_what_it_used(office: Office) -> None:
    leave(office.client, office.them)
    leave(office.client, office.colleague)
    leave(office.client, office.namesake)
    office.admin.done("PATCH", "/tenants/birds", name="Ornithoptera Ltd")
    until_kept(office, office.them)
    hook = {"name": "all", "url": "https://ornithoptera.example/hook", "event_types": ["image.job.succeeded"]}
    hooks = office.client.post("/v1/webhook_endpoints", json=hook, headers=bearer(office.them.key)).status_code
    before = office.client.get("/v1/usage", headers=bearer(office.them.key)).json()["data"]
    done = erased(office.client, "the-first-administrators-key", "/v1/admin/erasures", tenant="birds")
    assert (done["person"], done["erased"]["jobs"], done["erased"]["keys"]) == (None, 4, 1)
    assert done["erased"].get("webhook_endpoints", 0) == (hooks == 200)
    assert found(office.place.folders, needles_of(office.them, office.colleague)) == set()
    assert found(office.place.folders, needles_of(office.namesake)) == set(needles_of(office.namesake))
    assert draw(office.client, bearer(office.them.key)).status_code == 401
    tenant = office.admin.done("GET", "/tenants/birds")
    assert (tenant["name"], tenant["disabled_at"] is None) == ("birds", False)
    after = office.admin.done("GET", "/tenants/birds/usage")["data"]
    assert after == before != []
    assert draw(office.client, bearer(office.namesake.key)).status_code == 200


def test_a_tenants_keys_open_nothing_from_the_moment_on_at_which_it_is_to_be_erased(office: Office) -> None:
    assert draw(office.client, bearer(office.them.key)).status_code == 200
    office.admin.done("POST", "/erasures", tenant="birds")
    assert draw(office.client, bearer(office.them.key)).status_code in (401, 403)


def test_what_is_asked_for_twice_is_one_erasure(office: Office) -> None:
    def asked_for(identifier: str) -> dict[str, Any]:
        headers = bearer(office.them.key)
        told: dict[str, Any] = office.client.post(
            "/v1/erasures", json={"safety_identifier": identifier}, headers=headers
        ).json()
        return told

    first, second, other = asked_for("somebody"), asked_for("somebody"), asked_for("somebody else")
    assert first["id"] == second["id"] != other["id"]
    assert first["person"] != other["person"]


def test_several_are_carried_at_a_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.rights.erasing.SETTLE_SECONDS", 2.0)
    headers = bearer(office.them.key)
    for number in range(4):
        office.client.post("/v1/erasures", json={"safety_identifier": f"user-{number}"}, headers=headers)

    def states() -> list[str]:
        return [each["status"] for each in office.client.get("/v1/erasures", headers=headers).json()["data"]]

    until(lambda: states() == ["running"] * 4)
    until(lambda: states() == ["finished"] * 4)


def test_a_job_that_is_drawn_is_stopped_and_leaves_nothing(office: Office, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.2
    client, headers = office.client, bearer(office.them.key)
    job = submit(client, headers, seed=office.them.seed, steps=30, **office.them.fields)
    until(lambda: stages.asked("/draw"))
    erased(client, office.them.key, safety_identifier=office.them.identifier)
    assert stages.draws_stopped.wait(60)
    assert client.get(f"/v1/jobs/{job}", headers=headers).status_code == 404
    assert found(office.place.folders, office.them.needles()) == set()


def test_a_job_that_another_gateway_draws_is_stopped_at_once(
    place: Place, stages: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.postgresql is None:
        pytest.skip("SQLite has one gateway")
    monkeypatch.setattr("bowerbird.gateway.jobs.carrying.RENEW_SECONDS", 3600.0)  # it is told
    monkeypatch.setattr("bowerbird.gateway.jobs.carrying.LEASE_SECONDS", 3600.0)
    stages.behaviour.until_frames = threading.Event()
    gateways = place.start(), place.start()
    them = Someone("zyzzyva-3", "quetzaltenango", 553_101, ADMIN)
    submit(gateways[0], bearer(them.key), steps=30, **them.fields)
    until(lambda: stages.asked("/draw"))
    [other] = [each for each in gateways if not holds_a_slot(each)]
    erased(other, them.key, safety_identifier=them.identifier)
    assert stages.draws_stopped.wait(10)


def test_a_job_that_comes_while_an_erasure_runs_is_swept_with_the_rest(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The job is to come, and to be seen, meanwhile.
    monkeypatch.setattr("bowerbird.gateway.rights.erasing.SETTLE_SECONDS", 6.0)
    client, headers = office.client, bearer(office.them.key)
    asked = {"safety_identifier": office.them.identifier}
    erasure = client.post("/v1/erasures", json=asked, headers=headers).json()["id"]
    late = httpx2.Client(base_url=client.base_url, headers=headers, timeout=60)
    job = submit(late, seed=office.them.seed, **office.them.fields)
    assert ended(late, job)["status"] in ("succeeded", "cancelled")
    finished(client, office.them.key, erasure)
    assert late.get(f"/v1/jobs/{job}").status_code == 404
    assert found(office.place.folders, office.them.needles()) == set()
    late.close()


def test_a_picture_that_is_finished_after_the_erasure_is_given_and_not_kept(office: Office, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    answers: list[Any] = []
    headers = bearer(office.them.key)
    drawing = threading.Thread(
        target=lambda: answers.append(draw(office.client, headers, seed=office.them.seed, **office.them.fields))
    )
    drawing.start()
    until(lambda: stages.asked("/draw"))
    erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    stages.behaviour.until_frames.set()
    drawing.join(20)
    assert pictures(answers[0]) == [frame(office.them.seed, len(pictures(answers[0])[0]))]
    asked = {"prompt": office.them.prompt, "seed": office.them.seed}
    until(lambda: draw(office.client, headers, **asked).json()["bowerbird"]["source"] == "drawn")
    assert found(office.place.folders, {"identifier": office.them.identifier.encode()}) == set()


def test_an_erasure_that_nobody_carries_any_more_is_finished_by_the_next_gateway(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.rights.carrying.LEASE_SECONDS", 3.0)
    monkeypatch.setattr("bowerbird.gateway.rights.carrying.RENEW_SECONDS", 0.5)
    monkeypatch.setattr("bowerbird.gateway.rights.erasing.SETTLE_SECONDS", 600.0)
    leave(office.client, office.them)
    until_kept(office, office.them)
    headers = bearer(office.them.key)
    asked = {"safety_identifier": office.them.identifier}
    erasure = office.client.post("/v1/erasures", json=asked, headers=headers).json()["id"]

    def has_begun() -> bool:
        told = office.client.get(f"/v1/erasures/{erasure}", headers=headers).json()
        return bool(told["status"] == "running" and told["erased"].get("jobs") == 2)

    until(has_begun)
    office.place.stop()
    monkeypatch.setattr("bowerbird.gateway.rights.erasing.SETTLE_SECONDS", 0.6)
    with office.place.gateway_in(office.place.home, **office.place.settings) as successor:
        done = finished(successor, office.them.key, erasure)
        assert done["erased"]["jobs"] == 2, "what was gone is not counted twice"
        assert found(office.place.folders, office.them.needles()) == set()


def test_what_another_gateway_remembers_is_not_given_after_an_erasure(place: Place, stages: StandIns) -> None:
    if place.postgresql is None:
        pytest.skip("SQLite has one gateway")
    one, two = place.start(), place.start()
    key = "the-first-administrators-key"
    them = Someone("zyzzyva-2", "quetzaltenango", 553_001, key)
    for _ in range(2):
        assert draw(two, bearer(key), seed=them.seed, **them.fields).status_code == 200
    assert len(stages.asked("/draw")) == 1
    erased(one, key, safety_identifier=them.identifier)
    assert draw(two, bearer(key), seed=them.seed, **them.fields).json()["bowerbird"]["source"] == "drawn"


def test_an_administrator_does_not_erase_the_tenant_of_the_key_in_use(office: Office) -> None:
    own = office.admin.key("cats", role="admin")
    refused = office.client.post("/v1/admin/erasures", json={"tenant": "cats"}, headers=bearer(own))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tenant")
    unknown = office.client.post("/v1/admin/erasures", json={"tenant": "nobody"}, headers=bearer(own))
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "tenant_not_found")
