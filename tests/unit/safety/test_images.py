"""The frames' way: facts about pixels, the pinned graph, and nothing leaves when a gate fails."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from bowerbird.contracts import Action
from bowerbird.errors import StageUnavailable
from bowerbird.safety.images import FactsGate, ImagePipeline, repeated_share
from bowerbird.safety.nsfw import CROPPED_PIXELS, MEAN_BGR, NsfwGate, preprocess
from bowerbird.safety.policy import Policy
from bowerbird.safety.service import Checks
from bowerbird.training.drawing import draw
from bowerbird.training.pictures import scene_at

Frame = NDArray[np.uint8]


class FixedImageGate:
    """Scores what it was given, or raises it."""

    name = "fixed"
    detector = "fixed@1"

    def __init__(self, outcome: Mapping[str, float] | Exception) -> None:
        self._outcome = outcome

    def score(self, frame: Frame) -> Mapping[str, float]:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


@pytest.fixture(scope="module")
def bird() -> Frame:
    return draw(scene_at(977, 0))


def test_drawn_birds_pass_every_gate(checks: Checks) -> None:
    for index in range(8):
        verdict = checks.images.check(index, draw(scene_at(978, index)))
        assert (verdict.index, verdict.action, verdict.reasons) == (index, Action.ALLOW, [])
        assert [report.name for report in verdict.gates] == ["facts", "nsfw"]


@pytest.mark.parametrize("colour", [0, 7, 128, 255])
def test_frame_of_one_colour_is_blocked(checks: Checks, colour: int) -> None:
    verdict = checks.images.check(0, np.full((64, 64, 3), colour, np.uint8))
    assert verdict.action is Action.BLOCK
    assert "blank" in verdict.reasons


def test_frame_too_dark_to_be_checked_is_blocked(checks: Checks, bird: Frame) -> None:
    verdict = checks.images.check(0, bird // 24)
    assert verdict.action is Action.BLOCK
    assert "dark" in verdict.reasons


def test_night_is_not_dark(checks: Checks, bird: Frame) -> None:
    assert "dark" not in checks.images.check(0, bird // 4).reasons


def test_stuck_channels_and_repeated_rows_are_flagged(policy: Policy, bird: Frame) -> None:
    facts = FactsGate(policy.images.facts)
    noise = np.random.default_rng(1).integers(0, 2, bird.shape, np.uint8) * 255
    assert facts.score(noise)["artefact"] == 1.0
    repeated = bird.copy()
    repeated[64:] = repeated[63]
    assert facts.score(repeated)["artefact"] == 1.0
    assert facts.score(np.swapaxes(repeated, 0, 1).copy())["artefact"] == 1.0
    assert facts.score(bird)["artefact"] == 0.0


def test_smallest_frames_are_judged_too(checks: Checks) -> None:
    assert repeated_share(np.zeros((1, 1), np.uint8)) == 0.0
    for shape in ((1, 1, 3), (8, 4096, 3), (300, 8, 3)):
        assert checks.images.check(0, np.zeros(shape, np.uint8)).action is Action.BLOCK


def test_image_gate_that_raises_is_unavailable_and_never_allowed(policy: Policy, bird: Frame) -> None:
    pipeline = ImagePipeline(policy, [FixedImageGate({"sexual": 0.0}), FixedImageGate(RuntimeError("broken"))])
    with pytest.raises(StageUnavailable, match="fixed could not decide") as raised:
        pipeline.check(0, bird)
    assert raised.value.retry_after_seconds


@pytest.mark.parametrize("answer", [{}, {"rudeness": 0.1}, {"sexual": float("nan")}, {"sexual": 1.1}])
def test_answer_that_the_policy_cannot_weigh_fails_closed(
    policy: Policy, bird: Frame, answer: dict[str, float]
) -> None:
    with pytest.raises(StageUnavailable):
        ImagePipeline(policy, [FixedImageGate(answer)]).check(0, bird)


@pytest.mark.parametrize(("score", "action"), [(0.49, Action.ALLOW), (0.5, Action.FLAG), (0.8, Action.BLOCK)])
def test_nsfw_score_leads_to_the_policys_action(policy: Policy, bird: Frame, score: float, action: Action) -> None:
    verdict = ImagePipeline(policy, [FixedImageGate({"sexual": score})]).check(0, bird)
    assert verdict.action is action
    assert verdict.reasons == ([] if action is Action.ALLOW else ["sexual"])
    assert verdict.gates[0].threshold == 0.5


def test_graph_is_fed_as_it_was_trained(bird: Frame) -> None:
    fed = preprocess(bird)
    assert fed.shape == (1, CROPPED_PIXELS, CROPPED_PIXELS, 3)
    assert fed.dtype == np.float32
    red = np.zeros((300, 200, 3), np.uint8)
    red[..., 0] = 255
    blue_green_red = preprocess(red).mean(axis=(0, 1, 2)) + np.asarray(MEAN_BGR)
    assert blue_green_red[2] > 250
    assert blue_green_red[:2].max() < 5


def test_graph_prefers_skin_to_feathers(policy: Policy, bird: Frame) -> None:
    """No explicit picture is kept here: this only shows that the graph reacts to what it was trained for."""
    height, width = np.mgrid[0:256, 0:256] / 255.0
    shade = 1 - 0.5 * np.abs(width - 0.5) - 0.1 * np.sin(height * 9)
    skin = (np.asarray([224.0, 172.0, 140.0]) * shade[..., None]).clip(0, 255).astype(np.uint8)
    gate = NsfwGate(policy.images.model)
    assert gate.score(skin)["sexual"] > gate.score(bird)["sexual"]
    assert gate.detector.endswith(policy.images.model.sha256)
