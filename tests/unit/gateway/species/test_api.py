"""`POST /v1/species/{species}/images` and `/clips` on a real socket: names in, a checked and labelled picture out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bowerbird.contracts import Action, FrameJudgement, Judgement, JudgeRequest, LoraUse, SpeciesCheck, WorkClass
from bowerbird.errors import PromptTooLong
from bowerbird.gateway.app import create_app
from bowerbird.gateway.species.families import read_families
from bowerbird.gateway.species.images import seed_of_species
from bowerbird.gateway.species.template import read_template
from bowerbird.gateway.species.words import Circumstances, Pose, Season

from ..conftest import StartGateway, opened, pictures, settings_for, until_ready
from ..stand_ins import DIGEST, LORA, MODEL, StandIns, decision, judgement, served

ROBIN = {"common_name": "American robin", "scientific_name": "Turdus migratorius"}
PROMPT = "an American robin perched on a branch in winter"
VERSION = f"1@{DIGEST}"
HIT, MISS = "bowerbird; hit", "bowerbird; fwd=miss"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def _keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    _, stages_url = request.getfixturevalue("_stand_ins")
    app = create_app(settings_for(stages_url, tmp_path_factory.mktemp("home"), result_bytes=MEGABYTE))
    with served(app) as url, opened(url) as client:
        yield client


@pytest.fixture
def keeper(_keeper: httpx2.Client, stages: StandIns) -> httpx2.Client:
    """A gateway that keeps pictures, those of other tests among them."""
    until_ready(_keeper, "safety", "text-to-image", "curation")
    return _keeper


def ask(
    client: httpx2.Client, species: str = "american-robin", headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    return client.post(f"/v1/species/{species}/images", json={**ROBIN, **fields}, headers=headers)


def with_check(verdicts: list[str]) -> Any:
    """A judge that says these verdicts of the candidates, and ranks the others after those that are confirmed."""

    def judge(asked: JudgeRequest) -> Judgement:
        said = judgement(asked, lambda frame: float(verdicts[frame] == "confirmed"))
        frames = [_checked(frame, verdict) for frame, verdict in zip(said.frames, verdicts, strict=True)]
        return said.model_copy(update={"frames": frames})

    return judge


def _checked(frame: FrameJudgement, verdict: Any) -> FrameJudgement:
    check = SpeciesCheck(version=VERSION, verdict=verdict, probability=0.5, most_like="Blue jay", compared=12)
    return frame.model_copy(update={"species": check})


def test_names_and_circumstances_become_a_prompt_that_safety_sees_first(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    answer = ask(gateway, pose="perched", season="winter", safety_identifier="user-1")

    assert answer.status_code == 200, answer.text
    assert [each.path for each in stages.seen][:2] == ["/loras", "/check_prompt"]
    assert stages.seen[1].asked.prompt == PROMPT
    drawn = stages.asked("/draw")[0].asked
    assert (drawn.prompt, drawn.count, drawn.lora) == (PROMPT, 1, [])
    assert drawn.seed == seed_of_species("american-robin", Circumstances(Pose.PERCHED, Season.WINTER), 0)
    assert answer.json()["data"][0]["revised_prompt"] == PROMPT
    assert answer.json()["safety_identifier"] == "user-1"


def test_template_and_family_stand_in_the_answer_and_in_the_label(gateway: httpx2.Client, stages: StandIns) -> None:
    told = ask(gateway).json()["bowerbird"]["species"]

    families = read_families(None)
    assert told == {
        "template": read_template(None, list(families.families)).version.model_dump(),
        "families": families.version.model_dump(),
        "family": "Turdidae",
        "lora": None,
        "without_lora": "lora_not_served",
    }
    [published] = stages.asked("/publish")
    assert published.asked.origin.species.model_dump() == told


def test_a_familys_lora_is_drawn_with_and_named_where_it_is_served(
    start_gateway: StartGateway, stages: StandIns, tmp_path: Path
) -> None:
    table = tmp_path / "families.toml"
    table.write_text(
        f"version = 2\n[Turdidae]\ngenera = ['Turdus']\nlora = {{id = '{LORA.id}', weight = 0.5}}\n"
        "[Corvidae]\ngenera = ['Corvus']"
    )
    client = start_gateway(species_families=table)
    answer, other = ask(client), ask(client, scientific_name="Corvus corax")

    told = answer.json()["bowerbird"]
    assert stages.asked("/draw")[0].asked.lora == [LoraUse(id=LORA.id, weight=0.5)]
    assert (told["species"]["lora"], told["species"]["without_lora"]) == (LORA.id, None)
    assert told["species"]["families"]["version"] == 2
    assert told["loras"] == {LORA.id: LORA.digest}
    assert stages.asked("/publish")[0].asked.origin.species.lora == LORA.id
    facts = other.json()["bowerbird"]["species"]
    assert (facts["family"], facts["without_lora"]) == ("Corvidae", "family_unlisted")


def test_a_model_without_loras_is_not_asked_for_them(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"max_lora_rank": 0})
    client = start_gateway()
    told = ask(client).json()["bowerbird"]["species"]
    unlisted = ask(client, scientific_name="Fratercula arctica").json()["bowerbird"]["species"]

    assert (told["family"], told["without_lora"]) == ("Turdidae", "model_without_lora")
    assert (unlisted["family"], unlisted["without_lora"]) == (None, "family_unlisted")
    assert not stages.asked("/loras")


def test_curation_is_asked_about_the_species_and_its_word_is_told(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.judge = with_check(["contradicted", "confirmed", "contradicted"])
    answer = ask(gateway, candidates=3)

    [judged] = stages.asked("/judge")
    assert judged.asked.species == "Turdus migratorius"
    [image] = answer.json()["bowerbird"]["images"]
    assert image["candidate"] == 1
    assert image["species_check"] == {
        "version": VERSION,
        "verdict": "confirmed",
        "probability": 0.5,
        "most_like": "Blue jay",
        "compared": 12,
    }
    assert answer.headers["bowerbird-species-check"] == "confirmed"


def test_the_same_request_is_the_same_picture_and_is_not_drawn_again(keeper: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.judge = with_check(["confirmed"])
    first, second = ask(keeper, "same"), ask(keeper, "same")

    assert (first.headers["cache-status"], second.headers["cache-status"]) == (MISS, HIT)
    assert pictures(first) == pictures(second)
    assert first.headers["etag"] == second.headers["etag"]
    assert second.headers["bowerbird-species-check"] == "confirmed"
    assert len(stages.asked("/draw")) == 1
    known = ask(keeper, "same", {"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize(
    ("species", "fields"),
    [
        ("other", {}),
        ("one", {"variation": 1}),
        ("one", {"season": "winter"}),
        ("one", {"common_name": "Robin"}),
        ("one", {"scientific_name": "Turdus merula"}),
        ("one", {"resolution": "thumbnail", "quality": "high"}),
        ("one", {"output_format": "webp"}),
    ],
)
def test_whatever_is_asked_for_otherwise_is_drawn(
    keeper: httpx2.Client, stages: StandIns, species: str, fields: dict[str, Any]
) -> None:
    ask(keeper, "one")
    stages.reset()
    ask(keeper, species, **fields)
    assert len(stages.asked("/draw")) == 1


def test_who_only_wants_it_to_be_there_is_not_sent_it(keeper: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.judge = with_check(["confirmed"])
    minimal = {"Prefer": "respond-sync, return=minimal"}
    first, second = ask(keeper, "minimal", minimal), ask(keeper, "minimal", minimal)
    whole = ask(keeper, "minimal")

    for answer, status in ((first, MISS), (second, HIT)):
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["preference-applied"] == "return=minimal"
        assert answer.headers["cache-status"] == status
        assert answer.headers["etag"] == whole.headers["etag"]
        assert answer.headers["bowerbird-species-check"] == "confirmed"
    assert whole.headers["cache-status"] == HIT
    known = ask(keeper, "minimal", minimal | {"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304


def test_another_template_draws_another_picture(start_gateway: StartGateway, stages: StandIns, tmp_path: Path) -> None:
    template = tmp_path / "prompt.jinja"
    template.write_text("{# version: 2 #}a photo of {{ common_name }}, {{ scientific_name }}")
    told = ask(start_gateway(species_prompt=template), pose="perched").json()["bowerbird"]["species"]

    assert stages.asked("/draw")[0].asked.prompt == "a photo of American robin, Turdus migratorius"
    assert told["template"]["version"] == 2


@pytest.mark.parametrize(
    ("species", "fields", "param"),
    [
        ("American-Robin", {}, "species"),
        ("-robin", {}, "species"),
        ("r" * 65, {}, "species"),
        ("r", {"common_name": "robin, on fire"}, "common_name"),
        ("r", {"common_name": "{{ config }}"}, "common_name"),
        ("r", {"common_name": "r" * 61}, "common_name"),
        ("r", {"common_name": 7}, "common_name"),
        ("r", {"scientific_name": "turdus migratorius"}, "scientific_name"),
        ("r", {"scientific_name": "Turdus"}, "scientific_name"),
        ("r", {"pose": "running"}, "pose"),
        ("r", {"season": "Winter"}, "season"),
        ("r", {"behaviour": "singing"}, "behaviour"),
        ("r", {"pose": "flying", "behaviour": "brooding"}, "behaviour"),
        ("r", {"resolution": "huge"}, "resolution"),
        ("r", {"resolution": "large"}, "resolution"),
        ("r", {"variation": -1}, "variation"),
        ("r", {"candidates": 9}, "candidates"),
        ("r", {"output_compression": 5}, "output_compression"),
        ("r", {"prompt": "a car"}, "prompt"),
        ("r", {"seed": 1}, "seed"),
    ],
)
def test_what_is_not_accepted_is_refused_by_its_name_before_a_stage_is_asked(
    gateway: httpx2.Client, stages: StandIns, species: str, fields: dict[str, Any], param: str
) -> None:
    answer = ask(gateway, species, **fields)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert not [each for each in stages.seen if each.path != "/loras"]


def test_a_name_that_is_refused_is_not_repeated(gateway: httpx2.Client) -> None:
    for field in ("common_name", "scientific_name"):
        named: dict[str, Any] = {field: "quixotic7"}
        assert "quixotic7" not in ask(gateway, **named).text


def test_what_safety_and_the_model_say_of_the_prompt_is_said_of_the_name(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK)
    refused = ask(gateway)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "common_name")

    stages.reset()
    stages.behaviour.answers["/draw"] = lambda: PromptTooLong("prompt: 80 tokens. Accepted: 75.", param="prompt")
    too_long = ask(gateway)
    assert (too_long.json()["error"]["code"], too_long.json()["error"]["param"]) == ("prompt_too_long", "common_name")


def test_it_becomes_a_job_like_any_request(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.judge = with_check(["confirmed"])
    headers = {"Prefer": "respond-async, wait=10", "Bowerbird-Class": WorkClass.BATCH}
    answer = ask(gateway, headers=headers, pose="perched", season="winter")

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["data"][0]["revised_prompt"] == PROMPT
    assert told["bowerbird"]["species"]["family"] == "Turdidae"
    assert told["bowerbird"]["images"][0]["species_check"]["verdict"] == "confirmed"
    [drawn] = stages.asked("/draw")
    assert drawn.headers["bowerbird-class"] == "batch"
    assert stages.asked("/judge")[0].asked.species == "Turdus migratorius"
    assert stages.asked("/publish")[0].asked.origin.species.family == "Turdidae"


def test_a_key_is_for_what_was_sent_and_brings_the_first_answer_again(gateway: httpx2.Client, stages: StandIns) -> None:
    key = {"Idempotency-Key": "species-1"}
    first, again = ask(gateway, headers=key), ask(gateway, headers=key)
    other_body, other_path = ask(gateway, headers=key, variation=1), ask(gateway, "jay", headers=key)

    assert pictures(first) == pictures(again)
    assert len(stages.asked("/draw")) == 1
    assert (other_body.status_code, other_path.status_code) == (422, 422)


def test_a_clip_of_a_species_is_a_job_with_the_seed_of_its_variation(gateway: httpx2.Client, stages: StandIns) -> None:
    path = "/v1/species/american-robin/clips"
    for fields, param in (
        ({"seconds": 9}, "seconds"),
        ({"fps": 60}, "fps"),
        ({"format": "avi"}, "format"),
        ({"common_name": "robin 2"}, "common_name"),
        ({"pose": "perched", "behaviour": "soaring"}, "behaviour"),
    ):
        refused = gateway.post(path, json={**ROBIN, **fields})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert not stages.seen
    wanted = {**ROBIN, "pose": "perched", "season": "winter", "seconds": 2, "fps": 12, "format": "gif"}
    answers = [gateway.post(path, json=wanted) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    seeds = []
    for answer in answers:
        video_id = answer.json()["id"]
        while (video := gateway.get(f"/v1/videos/{video_id}").json())["status"] in ("queued", "in_progress"):
            time.sleep(0.02)
        assert (video["status"], video["prompt"], video["seconds"]) == ("completed", PROMPT, "2")
        assert video["bowerbird"]["format"] == "gif"
        seeds.append(video["bowerbird"]["facts"]["images"][0]["seed"])
    assert seeds == [seed_of_species("american-robin", Circumstances(Pose.PERCHED, Season.WINTER, None), 0)] * 2
