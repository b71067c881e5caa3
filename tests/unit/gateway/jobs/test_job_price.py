"""What a job uses is what it was accepted for."""

from __future__ import annotations

from starlette.responses import Response

from bowerbird.contracts import ModelCosts, ModelDescription, SizeCosts
from bowerbird.errors import StageUnavailable

from ..conftest import StartGateway, until_ready
from ..stand_ins import MODEL, StandIns
from .submitting import ended, submit


def costing(step: float) -> ModelDescription:
    """The model as it describes itself after measuring a step."""
    costs = ModelCosts(
        unit_seconds=1, guided_rows=2, sizes=[SizeCosts(size=MODEL.sizes[0], encode=0, step=step, decode=0)]
    )
    return MODEL.model_copy(update={"costs": costs})


def test_a_model_that_is_measured_anew_does_not_change_the_price_of_a_job(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    stages.behaviour.described = costing(1.0)
    gateway = start_gateway()

    def restarts() -> StageUnavailable:
        stages.behaviour.described = costing(3.0)
        stages.behaviour.answers["/readyz"] = lambda: Response(status_code=503)
        del stages.behaviour.answers["/publish"]
        return StageUnavailable("It is gone.")

    stages.behaviour.answers["/publish"] = restarts
    job_id = submit(gateway)
    while "/publish" in stages.behaviour.answers or gateway.get("/readyz").json()["stages"][1]["state"] == "ready":
        pass
    del stages.behaviour.answers["/readyz"]
    until_ready(gateway, "text-to-image")
    job = ended(gateway, job_id)
    assert (job["status"], job["attempts"]) == ("succeeded", 2)
    [day] = gateway.get("/v1/usage").json()["data"]
    assert day["compute_units"] == job["compute_units"]
    assert gateway.get("/v1/jobs").json()["data"][0]["compute_units"] == job["compute_units"]
    dearer = ended(gateway, submit(gateway))
    assert dearer["compute_units"] > job["compute_units"]
