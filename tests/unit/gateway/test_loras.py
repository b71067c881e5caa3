"""LoRAs through the gateway: named in a request, told in the answer and in the label, listed, refused where useless."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from bowerbird.contracts import LoraUse
from bowerbird.errors import LoraUnknown

from .conftest import draw
from .stand_ins import LORA, MODEL, StandIns


def test_named_loras_reach_the_model_the_answer_and_the_label(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = draw(gateway, lora=[{"id": "watercolour", "weight": -0.5}, {"id": "winter"}])

    assert stages.asked("/draw")[0].asked.lora == [LoraUse(id="watercolour", weight=-0.5), LoraUse(id="winter")]
    digests = {"watercolour": LORA.digest, "winter": LORA.digest}
    assert answer.json()["bowerbird"]["loras"] == digests
    assert stages.asked("/publish")[0].asked.origin.loras == digests


@pytest.mark.parametrize(
    ("lora", "param"),
    [
        ([{"id": "../watercolour"}], "lora.0.id"),
        ([{"id": "watercolour", "weight": 4.5}], "lora.0.weight"),
        ([{"id": "watercolour", "weight": "1"}], "lora.0.weight"),
        ([{"id": "watercolour", "scale": 1}], "lora.0.scale"),
        ([{"id": "watercolour"}, {"id": "watercolour"}], "lora"),
        ([{"id": f"lora-{index}"} for index in range(5)], "lora"),
        ([{"id": "watercolour", "weight": 0}], "lora"),
        ("watercolour", "lora"),
    ],
)
def test_what_is_no_list_of_loras_is_refused_and_named(
    gateway: httpx2.Client, stages: StandIns, lora: Any, param: str
) -> None:
    answer = gateway.post("/v1/images/generations", json={"prompt": "a robin", "lora": lora})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not stages.seen


def test_a_model_without_lora_refuses_the_field(start_gateway: Any, stages: StandIns) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"max_lora_rank": 0})
    answer = start_gateway().post("/v1/images/generations", json={"prompt": "a robin", "lora": [{"id": "a"}]})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_parameter"
    assert "compiled without LoRA" in answer.json()["error"]["message"]


def test_a_lora_that_is_not_there_is_the_callers_fault(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/draw"] = lambda: LoraUnknown("lora: no 'oil'. Accepted: 'watercolour'.", param="lora")
    answer = gateway.post("/v1/images/generations", json={"prompt": "a robin", "lora": [{"id": "oil"}]})

    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("lora_not_found", "lora")


def test_the_folder_is_listed_with_what_cannot_be_used(gateway: httpx2.Client) -> None:
    answer = gateway.get("/v1/loras").json()

    assert answer["data"] == [{"object": "lora", **LORA.model_dump()}]
    assert answer["refused"] == {"broken.safetensors": "rank 128 is above 64"}
