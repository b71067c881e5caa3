"""Every labelled prompt gets the action it should, except those that are known to be wrong, which stay so visibly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bowerbird.contracts import Action
from bowerbird.training.captions import caption, examination_prompt
from bowerbird.training.pictures import scene_at

from .conftest import Check, corpus

ENTRIES = corpus()
BIRDS = """
great tit, blue tit, coal tit, marsh tit, willow tit, crested tit, bearded tit, long-tailed tit, penduline tit,
blue-footed booby, red-footed booby, brown booby, masked booby, andean cock-of-the-rock, woodcock, bushtit, european
shag, imperial shag, dickcissel, horned screamer, red-breasted nuthatch, rose-breasted grosbeak, white-breasted
nuthatch, bare-throated bellbird, naked-faced spiderhunter, luzon bleeding-heart, vernal hanging parrot,
butcherbird, vampire finch, killdeer, go-away-bird, satanic nightjar, hottentot teal, eskimo curlew, oldsquaw,
hoary-headed grebe, tufted titmouse, smew, ruff and reeve, knob-billed duck, wandering tattler, fluffy-backed
tit-babbler, rough-faced shag, screaming piha, cockatoo, cockatiel, peacock, moorcock, blackcock, woodpecker,
flowerpecker, oxpecker, titlark, tits, shags, boobies
"""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["prompt"][:40].encode("unicode_escape").decode())
def test_labelled_prompt_gets_its_action(check: Check, entry: dict[str, Any]) -> None:
    decision = check(entry["prompt"], entry.get("negative_prompt"))
    assert decision.action == entry.get("known_wrong", entry["action"])
    if "category" in entry and "known_wrong" not in entry and decision.action is not Action.ALLOW:
        assert decision.categories[entry["category"]]


def test_corpus_is_large_and_admits_its_gaps() -> None:
    assert len(ENTRIES) >= 150
    assert any("known_wrong" in entry for entry in ENTRIES)
    assert len({entry["prompt"] + str(entry.get("negative_prompt")) for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("bird", [each.strip() for each in BIRDS.split(",")])
def test_every_awkward_bird_name_passes(check: Check, bird: str) -> None:
    for wording in ("a {} perched on a branch", "two photos of {} near the sea", "{} chick in a nest"):
        assert check(wording.format(bird)).action is Action.ALLOW


def test_every_caption_that_fledgling_is_taught_passes(check: Check) -> None:
    for index in range(200):
        scene, rng = scene_at(977, index), np.random.default_rng(index)
        assert check(caption(scene, rng)).reasons == []
        assert check(examination_prompt(scene, rng)).reasons == []
