"""The clips' way: which frames the gates see, what a clip is as bad as, and `/check_clips` as the gateway asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from bowerbird.contracts import Action, ClipCheck, ClipDecisions
from bowerbird.errors import StageUnavailable
from bowerbird.frames import npy
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, part
from bowerbird.safety.clips import ClipLook
from bowerbird.safety.images import ImagePipeline
from bowerbird.safety.policy import Policy
from bowerbird.safety.service import Checks
from bowerbird.training.drawing import draw
from bowerbird.training.pictures import scene_at

Clip = NDArray[np.uint8]


class Watching:
    """A gate that remembers what it saw, and finds what is all white."""

    name = "watching"
    detector = "watching@1"

    def __init__(self) -> None:
        self.seen = 0

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        self.seen += 1
        return {"sexual": 1.0 if frame.min() == 255 else 0.0}


class Broken(Watching):
    """A gate that cannot decide."""

    def score(self, frame: NDArray[np.uint8]) -> Mapping[str, float]:
        raise RuntimeError


def drifting(frames: int, bird: NDArray[np.uint8]) -> Clip:
    """A still bird that the camera passes slowly."""
    return np.stack([np.roll(bird, number, axis=1) for number in range(frames)])


@pytest.fixture(scope="module")
def bird() -> NDArray[np.uint8]:
    return draw(scene_at(977, 0))


def look(clip: Clip, gate: Watching, policy: Policy, fps: float = 24, *, repeats: bool = False) -> ClipLook:
    wanted = ClipCheck(frames=len(clip), frames_per_second=fps, repeats=repeats)
    look = ClipLook(0, wanted, ImagePipeline(policy, (gate,)), policy)
    for frame in clip:
        look.see(frame)
    return look


def test_the_gates_see_the_ends_and_a_frame_each_half_second(policy: Policy, bird: NDArray[np.uint8]) -> None:
    gate = Watching()
    verdict = look(drifting(60, bird), gate, policy).verdict()
    assert verdict.looked_at == [0, 12, 24, 36, 48, 59]
    assert gate.seen == 6
    assert verdict.action is Action.ALLOW


def test_a_frame_slipped_in_between_two_looks_is_looked_at(policy: Policy, bird: NDArray[np.uint8]) -> None:
    clip = drifting(48, bird)
    clip[17] = 255
    verdict = look(clip, Watching(), policy).verdict()
    assert 17 in verdict.looked_at
    assert verdict.action is Action.BLOCK
    assert verdict.reasons == ["sexual"]
    assert verdict.category_scores["sexual"] == 1.0


def test_a_strobe_is_blocked_though_every_frame_of_it_is_harmless(policy: Policy, bird: NDArray[np.uint8]) -> None:
    clip = drifting(48, bird)
    clip[::4] //= 4
    clip[1::4] //= 4
    verdict = look(clip, Watching(), policy).verdict()
    assert verdict.action is Action.BLOCK
    assert verdict.reasons == ["flashing"]
    assert verdict.gates[-1].name == "flashing"
    assert verdict.gates[-1].threshold < 0.25 < verdict.gates[-1].score


def dark_then_light(bird: NDArray[np.uint8]) -> Clip:
    return np.stack([bird // 4, bird])


def light_at_both_ends(bird: NDArray[np.uint8]) -> Clip:
    """Three seconds: three flashes in the first half second, three in the last, each of them all that is allowed."""
    clip = np.repeat(bird[None] // 4, 72, axis=0)
    clip[[2, 6, 10, 61, 65, 69]] = bird
    return clip


@pytest.mark.parametrize("ends", [dark_then_light, light_at_both_ends])
def test_a_strobe_that_only_repeating_makes_is_blocked_where_the_clip_repeats(
    policy: Policy, bird: NDArray[np.uint8], ends: Callable[[NDArray[np.uint8]], Clip]
) -> None:
    clip = ends(bird)
    assert look(clip, Watching(), policy).verdict().action is Action.ALLOW
    verdict = look(clip, Watching(), policy, repeats=True).verdict()
    assert (verdict.action, verdict.reasons) == (Action.BLOCK, ["flashing"])


def test_three_flashes_in_every_round_of_two_seconds_are_allowed(policy: Policy, bird: NDArray[np.uint8]) -> None:
    clip = light_at_both_ends(bird)[:48]
    assert look(clip, Watching(), policy, repeats=True).verdict().action is Action.ALLOW


def test_an_older_gateway_that_does_not_say_whether_it_repeats_is_heard_as_if_it_did() -> None:
    assert ClipCheck.model_validate({"clips": 1, "frames": 2, "frames_per_second": 24}).repeats


def test_a_gate_that_cannot_decide_decides_nothing(policy: Policy, bird: NDArray[np.uint8]) -> None:
    with pytest.raises(StageUnavailable, match="watching"):
        look(drifting(4, bird), Broken(), policy)


def body(wanted: ClipCheck, frames: list[NDArray[np.uint8]]) -> bytes:
    parts = [part(Kind.FRAMES, npy(frame[None])) for frame in frames]
    return part(Kind.REQUEST, wanted) + b"".join(parts) + END_OF_STREAM


async def test_each_clip_has_a_verdict_of_its_own(
    client: httpx.AsyncClient, checks: Checks, bird: NDArray[np.uint8]
) -> None:
    calm = drifting(6, bird)
    dark = calm.copy()
    dark[3:] = 0
    wanted = ClipCheck(clips=2, frames=6, frames_per_second=8)
    answer = await client.post(
        "/check_clips", content=body(wanted, [*calm, *dark]), headers={"Content-Type": CONTENT_TYPE}
    )
    assert answer.status_code == 200, answer.text
    decisions = ClipDecisions.model_validate_json(answer.content)
    assert [each.action for each in decisions.verdicts] == [Action.ALLOW, Action.BLOCK]
    assert {"blank", "dark"} <= set(decisions.verdicts[1].reasons)
    assert decisions.policy == checks.policy.reference


@pytest.mark.parametrize("count", [3, 5])
async def test_another_number_of_frames_than_announced_is_refused(
    client: httpx.AsyncClient, bird: NDArray[np.uint8], count: int
) -> None:
    wanted = ClipCheck(frames=4, frames_per_second=8)
    answer = await client.post(
        "/check_clips", content=body(wanted, [bird] * count), headers={"Content-Type": CONTENT_TYPE}
    )
    assert answer.status_code == 400
    assert "frames came" in answer.json()["error"]["message"]
