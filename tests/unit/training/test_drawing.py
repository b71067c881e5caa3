"""What a person sees when a bird is drawn: every subject draws, the same scene is the same picture, subjects differ."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bowerbird.training.drawing import draw
from bowerbird.training.pictures import PictureSet, drawn_pictures, scene_at
from bowerbird.training.scene import (
    COMBINATIONS,
    HELD_OUT,
    LIGHTS,
    POSES,
    SEASONS,
    SPECIES,
    TAUGHT,
    Scene,
    UnknownSubject,
    sample_scene,
)


def test_there_are_at_least_as_many_subjects_as_promised() -> None:
    assert len(SPECIES) >= 12
    assert len(POSES) >= 4
    assert len(SEASONS) == 4
    assert len(LIGHTS) >= 3


@pytest.mark.parametrize("species", SPECIES)
def test_every_pose_season_and_light_of_a_species_draws(species: str) -> None:
    for pose, season, light in itertools.product(POSES, SEASONS, LIGHTS):
        picture = draw(Scene(species, pose, season, light), 64)
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10


def test_the_same_scene_is_the_same_picture() -> None:
    scene = scene_at(5, 3)
    assert scene == scene_at(5, 3)
    assert np.array_equal(draw(scene, 96), draw(scene, 96))


def test_another_layout_is_another_picture() -> None:
    scene = Scene("blue jay", "perched", "autumn")
    assert not np.array_equal(draw(scene, 96), draw(replace(scene, layout=1), 96))


def test_a_bird_that_looks_left_is_the_mirror_image() -> None:
    scene = Scene("green parrot", "perched", "spring", layout=0)
    right, left = draw(scene, 128).astype(float), draw(scene.mirrored(), 128)[:, ::-1].astype(float)
    assert np.abs(right - left).mean() < 6


@pytest.mark.parametrize("parameter", ["wing", "turn", "nod"])
def test_wings_and_head_move_continuously(parameter: str) -> None:
    scene = Scene("american crow", "flying", "summer", wing=0.2, turn=0.1)
    start = getattr(scene, parameter)
    step = 8.0 if parameter == "nod" else 0.1
    here, near, far = (
        draw(replace(scene, **{parameter: start + move}), 128).astype(float) for move in (0, step * 0.2, step * 4)
    )
    assert 0 < np.abs(here - near).mean() < np.abs(here - far).mean()


def test_what_cannot_be_drawn_is_refused_with_what_can() -> None:
    with pytest.raises(UnknownSubject, match="blue jay"):
        Scene("dodo", "perched", "winter")


def test_training_never_sees_a_held_out_combination() -> None:
    assert set(TAUGHT) | set(HELD_OUT) == set(COMBINATIONS)
    assert not set(TAUGHT) & set(HELD_OUT)
    assert 0.05 < len(HELD_OUT) / len(COMBINATIONS) < 0.15
    rng = np.random.default_rng(0)
    assert not {sample_scene(rng).combination for _ in range(2000)} & set(HELD_OUT)


def test_every_species_has_a_held_out_combination() -> None:
    assert {species for species, _, _ in HELD_OUT} == set(SPECIES)


def test_stored_pictures_are_those_that_would_be_drawn(tmp_path: Path) -> None:
    wanted = PictureSet(9, 3, 48)
    stored = drawn_pictures(tmp_path, wanted, workers=1)
    again = drawn_pictures(tmp_path, wanted, workers=1)
    assert np.array_equal(stored[2], draw(wanted.scenes()[2], 48))
    assert np.array_equal(stored, again)
