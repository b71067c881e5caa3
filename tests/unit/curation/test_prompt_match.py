"""The judge: opened from a real bundle, run by the real runtime, read as a probability."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.curation.encoder import open_judge
from bowerbird.curation.prompt_match import Calibration, PromptMatch
from bowerbird.curation.view import View
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.errors import BundleInvalid, PromptTooLong

CPU = CpuBackend(threads=1)


def plain(red: int, green: int, blue: int, side: int = 32) -> View:
    return View(np.full((side, side, 3), (red, green, blue), np.uint8))


def altered(judge_folder: Path, copy: Path, **changes: Any) -> Path:
    shutil.copytree(judge_folder, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(manifest | changes))
    return copy


def test_the_picture_that_shows_the_prompt_matches_and_the_other_does_not(prompt_match: PromptMatch) -> None:
    red = prompt_match.measure("red")
    assert red.of(plain(255, 0, 0)) > 0.9
    assert red.of(plain(0, 0, 255)) < 0.01
    assert prompt_match.measure("blue").of(plain(0, 0, 255)) > 0.9


@pytest.mark.parametrize("side", [4, 8, 33, 256])
def test_a_picture_of_any_size_is_judged(prompt_match: PromptMatch, side: int) -> None:
    assert prompt_match.measure("green").of(plain(0, 200, 0, side)) > 0.9


def test_a_frame_without_anything_to_see_is_undecided_at_most(prompt_match: PromptMatch) -> None:
    assert prompt_match.measure("red").of(plain(0, 0, 0)) < 0.5


def test_a_judgement_names_the_judge_and_its_digest(prompt_match: PromptMatch) -> None:
    name, digest = prompt_match.name.split("@")
    assert name == "colours"
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64


def test_a_prompt_that_the_judge_cannot_read_whole_is_refused_not_cut(prompt_match: PromptMatch) -> None:
    with pytest.raises(PromptTooLong):
        prompt_match.measure("red green blue red green")


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_probability_rises_with_the_cosine(one: float, other: float) -> None:
    calibration = Calibration(matching_mean=0.8, mismatching_mean=0.4, deviation=0.1)
    low, high = sorted((one, other))
    assert 0 <= calibration.probability(low) <= calibration.probability(high) <= 1


def test_half_way_between_matching_and_mismatching_is_undecided() -> None:
    assert Calibration(0.8, 0.4, 0.1).probability(0.6) == pytest.approx(0.5)


def test_the_nearest_kind_of_wrong_text_sets_the_scale(judge_folder: Path) -> None:
    """wrong_shade (0.5) and not wrong_hue (0.1): at their middle with matching (0.9) the judge is undecided."""
    white_against_red = 1 / np.sqrt(3)
    middle, slope = (0.9 + 0.5) / 2, (0.9 - 0.5) / 0.2**2
    expected = 1 / (1 + np.exp(-slope * (white_against_red - middle)))
    assert open_judge(judge_folder, CPU).measure("red").of(plain(9, 9, 9)) == pytest.approx(expected, rel=1e-4)


def test_an_altered_graph_is_refused_by_name_before_it_is_used(judge_folder: Path, tmp_path: Path) -> None:
    folder = altered(judge_folder, tmp_path / "judge")
    graph = folder / "image_encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleInvalid, match=r"image_encoder\.onnx.*expected sha256:.*found sha256:"):
        open_judge(folder, CPU)


def test_a_bundle_that_cannot_judge_is_refused(judge_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="no section 'judging'"):
        open_judge(altered(judge_folder, tmp_path / "judge", judging=None), CPU)


@pytest.mark.parametrize(
    ("calibration", "fact"),
    [
        ({}, "matching"),
        ({"matching": {"mean": 0.9, "std": 0}, "wrong_hue": {"mean": 0, "std": 0.1}}, "matching.std"),
        ({"matching": {"mean": 0.9, "std": 0.1}}, "wrong"),
    ],
)
def test_a_judge_whose_calibration_says_nothing_is_refused(
    judge_folder: Path, tmp_path: Path, calibration: dict[str, Any], fact: str
) -> None:
    judging = json.loads((judge_folder / "bundle.json").read_text())["judging"] | {"calibration": calibration}
    with pytest.raises(BundleInvalid, match=rf"judging\.calibration\.{fact}"):
        open_judge(altered(judge_folder, tmp_path / "judge", judging=judging), CPU)


def test_a_tower_with_two_inputs_is_refused(judge_folder: Path, tmp_path: Path) -> None:
    parts = json.loads((judge_folder / "bundle.json").read_text())["parts"]
    parts["text_encoder"]["inputs"] *= 2
    with pytest.raises(BundleInvalid, match="text_encoder must have one input"):
        open_judge(altered(judge_folder, tmp_path / "judge", parts=parts), CPU)
