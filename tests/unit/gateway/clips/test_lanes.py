"""Clips and pictures need other stages, and do not wait for each other's."""

from __future__ import annotations

from ..conftest import StartGateway, closed_url
from ..jobs.submitting import ended, submit


def test_a_clip_is_drawn_where_nobody_draws_pictures(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ready=("safety", "animation", "curation"), text_to_image_url=closed_url())
    answer = gateway.post("/v1/videos", json={"prompt": "a small red bird", "seconds": 2})
    assert answer.status_code == 200, answer.text
    assert ended(gateway, answer.json()["id"])["status"] == "succeeded"


def test_pictures_are_drawn_where_nobody_draws_clips(start_gateway: StartGateway) -> None:
    gateway = start_gateway(animation_url=closed_url())
    assert ended(gateway, submit(gateway))["status"] == "succeeded"
