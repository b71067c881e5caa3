"""What captions say: the truth, in known words, and in evaluation always species, pose and season."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from bowerbird.training.captions import (
    LEFT_PHRASES,
    LIGHT_PHRASES,
    POSE_PHRASES,
    POSE_WORDS,
    SEASON_PHRASES,
    SPECIES_NAMES,
    USUAL_SEASON,
    USUAL_SPECIES,
    caption,
    examination_prompt,
    plain_prompt,
    usual_pose,
)
from bowerbird.training.pictures import scene_at
from bowerbird.training.scene import COMBINATIONS, Scene

SCENES = [scene_at(77, index, COMBINATIONS) for index in range(400)]


def says(text: str, table: Mapping[str, Iterable[str]], value: str) -> bool:
    """Whether the text names `value`, by one of the words that the table has for it."""
    named = {key for key, phrases in table.items() if any(f" {p} " in f" {text} " for p in phrases)}
    return value in named


def plain(text: str) -> str:
    return text.replace(",", " ").replace(":", " ").replace("  ", " ")


@pytest.mark.parametrize("seed", range(3))
def test_an_examination_prompt_names_species_pose_and_season(seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = {pose: POSE_PHRASES[pose] + POSE_WORDS[pose] for pose in POSE_PHRASES}
    seasons = {season: (*phrases, season) for season, phrases in SEASON_PHRASES.items()}
    for scene in SCENES:
        text = plain(examination_prompt(scene, rng))
        assert says(text, SPECIES_NAMES, scene.species), text
        assert says(text, poses, scene.pose), text
        assert says(text, seasons, scene.season), text


def test_no_caption_lies_about_the_light_or_the_side() -> None:
    rng = np.random.default_rng(0)
    for scene in SCENES:
        text = plain(caption(scene, rng))
        for light, phrases in LIGHT_PHRASES.items():
            if light != scene.light:
                assert not any(f" {phrase} " in f" {text} " for phrase in phrases), text
        assert any(phrase in text for phrase in LEFT_PHRASES) == (scene.facing < 0)


def test_a_caption_leaves_out_only_what_is_usual() -> None:
    """Otherwise a prompt without a pose asks for the mean of all poses, and gets it."""
    rng = np.random.default_rng(0)
    poses = {pose: POSE_PHRASES[pose] + POSE_WORDS[pose] for pose in POSE_PHRASES}
    seasons = {season: (*phrases, season) for season, phrases in SEASON_PHRASES.items()}
    left_out = set()
    for scene in SCENES:
        text = plain(caption(scene, rng))
        if not says(text, poses, scene.pose):
            assert scene.pose == usual_pose(scene.species), text
            left_out.add("pose")
        if not says(text, seasons, scene.season):
            assert scene.season == USUAL_SEASON, text
            left_out.add("season")
        if not says(text, SPECIES_NAMES, scene.species):
            assert scene.species == USUAL_SPECIES, text
            left_out.add("species")
    assert left_out == {"pose", "season", "species"}


def test_examination_wordings_are_never_taught() -> None:
    rng = np.random.default_rng(0)
    taught = {caption(scene, rng) for scene in SCENES for _ in range(5)}
    asked = {examination_prompt(scene, rng) for scene in SCENES}
    assert not taught & asked


def test_captions_vary_and_are_tidy() -> None:
    rng = np.random.default_rng(0)
    scene = Scene("snowy owl", "flying", "winter")
    texts = [caption(scene, rng) for _ in range(200)]
    assert len(set(texts)) > 150
    for text in texts:
        assert text == text.strip()
        assert "  " not in text
        assert " ," not in text
        assert ",," not in text


def test_the_plain_prompt_reads_like_a_sentence() -> None:
    scene = Scene("american robin", "perched", "winter", "sunset")
    assert plain_prompt(scene) == "an american robin perched on a branch in winter at sunset"
