"""Rewards are what the file says, and a changed file is known by its digest."""

from __future__ import annotations

import pytest

from bowerbird.gateway.feedback.rewards import Kind, rewards


@pytest.mark.parametrize(("stars", "reward"), [(1, -1.0), (2, -0.5), (3, 0.0), (4, 0.5), (5, 1.0)])
def test_stars_are_worth_from_minus_one_to_one(stars: int, reward: float) -> None:
    assert rewards().of(Kind.STARS, stars) == reward


def test_every_kind_has_its_reward_or_none() -> None:
    assert {kind.value: rewards().of(kind, None) for kind in Kind} == {
        "stars": None,
        "chosen": None,
        "like": 0.5,
        "favourite": 1.0,
        "share": 0.8,
        "download": 0.6,
        "report": None,
        "none": -0.2,
    }


def test_a_changed_file_must_be_a_new_version() -> None:
    assert (rewards().version, rewards().digest) == (1, DIGEST)


DIGEST = "sha256:2df28c2a72cbee9b79e38a15526be50203b62c8d33f1739cbb94aaea719c96b5"
