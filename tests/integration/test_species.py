"""Species in the running chain: fledgling draws them, the judge knows them, the label says how they came to be."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.engine.lora_files import write_loras
from bowerbird.engine.bundle import Bundle
from bowerbird.settings import PACKAGED_MODELS

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

SEEN = {"cardinal": ("Northern cardinal", "Cardinalis cardinalis"), "puffin": ("Atlantic puffin", "Fratercula arctica")}
ROBIN = ("American robin", "Turdus migratorius")


@pytest.fixture(scope="module")
def gateway(stack: RunningStack) -> Iterator[httpx2.Client]:
    stack.wait_until_ready()
    with httpx2.Client(base_url=stack.url, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture
def family_lora(stack: RunningStack) -> Iterator[str]:
    """The LoRA that the table has for thrushes."""
    names = write_loras(stack.loras, Bundle.open(PACKAGED_MODELS / "fledgling"))
    path = stack.loras / "family-turdidae.safetensors"
    shutil.copy(stack.loras / f"{names[0]}.safetensors", path)
    yield path.stem
    for name in (*names, path.stem):
        (stack.loras / f"{name}.safetensors").unlink(missing_ok=True)


def ask(gateway: httpx2.Client, species: str, names: tuple[str, str], **fields: Any) -> httpx2.Response:
    body = {"common_name": names[0], "scientific_name": names[1], **fields}
    answer = gateway.post(f"/v1/species/{species}/images", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def label_of(gateway: httpx2.Client, answer: httpx2.Response) -> dict[str, Any]:
    picture = base64.b64decode(answer.json()["data"][0]["b64_json"])
    checked = gateway.post("/v1/content_provenance_checks", files={"file": ("bird.png", picture)}).json()
    facts: dict[str, Any] = checked["results"][0]["bowerbird"]
    return facts


@pytest.mark.parametrize("species", SEEN)
def test_a_species_that_fledgling_knows_is_drawn_confirmed_and_labelled(gateway: httpx2.Client, species: str) -> None:
    answer = ask(gateway, species, SEEN[species], season="winter", resolution="thumbnail", candidates=2)
    told = answer.json()["bowerbird"]

    assert told["images"][0]["species_check"]["verdict"] == "confirmed"
    assert answer.headers["bowerbird-species-check"] == "confirmed"
    label = label_of(gateway, answer)
    assert label["verdict"] == "made_here_intact"
    assert label["species"] == told["species"]
    assert told["species"]["without_lora"] == "family_unlisted"
    again = ask(gateway, species, SEEN[species], season="winter", resolution="thumbnail", candidates=2)
    assert (again.headers["cache-status"], again.headers["etag"]) == ("bowerbird; hit", answer.headers["etag"])


def test_the_familys_lora_takes_part_from_the_moment_it_lies_there(
    gateway: httpx2.Client, request: pytest.FixtureRequest
) -> None:
    without = ask(gateway, "robin", ROBIN, quality="low").json()["bowerbird"]
    name = request.getfixturevalue("family_lora")
    answer = ask(gateway, "robin", ROBIN, quality="low")
    told = answer.json()["bowerbird"]

    assert (without["species"]["lora"], without["species"]["without_lora"]) == (None, "lora_not_served")
    assert told["species"]["lora"] == name
    label = label_of(gateway, answer)
    assert label["species"]["lora"] == name
    assert label["loras"] == told["loras"] == {name: told["loras"][name]}


def test_a_table_is_drawn_beforehand_and_found_when_somebody_asks(
    gateway: httpx2.Client, stack: RunningStack, tmp_path: Path
) -> None:
    table = tmp_path / "species.csv"
    rows = [f"{species},{common},{scientific},low" for species, (common, scientific) in SEEN.items()]
    table.write_text("\n".join(["id,common_name,scientific_name,quality", *rows]))
    command = [sys.executable, "-m", "bowerbird.cli", "pregenerate", str(table), "--url", stack.url, "--json"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))

    assert json.loads(first.stdout)["drawn"] == json.loads(second.stdout)["fresh"] == len(SEEN)
    for species, names in SEEN.items():
        assert ask(gateway, species, names, quality="low").headers["cache-status"] == "bowerbird; hit"
