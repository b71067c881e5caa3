"""Clips in a cluster: their own chain wakes, a pod that ends finishes its clip, and what it cannot is drawn elsewhere.

The tests of this file are one story, told in its order, of a release whose models sleep.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import httpx2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from .cluster import Cluster
from .jobs import finished
from .release import REPLICAS, Release, installed

pytestmark = pytest.mark.timeout(900)

CHAIN = {"safety", "animation", "curation"}
"""What a clip needs; it does without text-to-image."""
COOLDOWN_SECONDS = 2
TOGETHER_SECONDS = 1.0
"""How far apart the stages of one chain may be told to come; the issue's."""
FRAMES = 16
CLIP = {
    "prompt": "a cardinal flapping its wings, winter",
    "seconds": 2,
    "fps": 8,
    "seed": 7,
    "steps": 8,
    "format": "webp",
}
VALUES = {
    "defaults": {"scaling": {"kind": "keda", "cooldownSeconds": COOLDOWN_SECONDS}},
    "services": {
        "gateway": {"scaling": {"kind": "fixed"}},
        "animation": {"resources": {"requests": {"cpu": "50m", "memory": "512Mi"}}},
    },
}


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """One whose models sleep, animation among them."""
    values = tmp_path_factory.mktemp("values") / "animation.yaml"
    values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    with installed(cluster, "moving", "--values", str(values)) as made:
        yield made


@pytest.fixture(scope="module")
def frames(release: Release) -> NDArray[np.uint8]:
    """The clip of CLIP's seed, drawn by a chain that slept: uint8 [frames, height, width, 3]."""
    with release.watched("deployments", REPLICAS) as changes, release.reached() as client:
        clip = accepted(client)
        assert finished(client, clip)["status"] == "succeeded"
        found = frames_of(client, clip)
    first: dict[str, float] = {}
    for heard, line in changes:
        name, replicas = line.split()
        if replicas == "1" and name != "gateway":
            first.setdefault(name, heard)
    assert first.keys() == CHAIN
    assert max(first.values()) - min(first.values()) <= TOGETHER_SECONDS
    return found


def test_a_clip_wakes_its_own_chain_at_once_and_is_drawn(frames: NDArray[np.uint8]) -> None:
    assert frames.shape == (FRAMES, 256, 256, 3)
    assert frames.std(axis=0).max() > 0, "it moves"


def test_a_pod_that_is_told_to_end_finishes_its_clip(release: Release, frames: NDArray[np.uint8]) -> None:
    with release.reached() as client:
        clip = accepted(client, safety_identifier="somebody")
        taken_away(release)
        job = finished(client, clip)
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        np.testing.assert_array_equal(frames_of(client, clip), frames)


def test_a_clip_whose_pod_has_no_time_left_is_the_same_drawn_by_another(
    release: Release, frames: NDArray[np.uint8]
) -> None:
    with release.reached() as client:
        clip = accepted(client, safety_identifier="somebody else")
        taken_away(release, "--grace-period=1")
        assert finished(client, clip)["status"] == "succeeded"
        np.testing.assert_array_equal(frames_of(client, clip), frames)


def test_they_fall_asleep_when_nobody_asks(release: Release) -> None:
    release.cluster.until(lambda: not any(map(release.pods, CHAIN)), "every service asleep", seconds=180)
    assert {name: count for name, count in release.wanted().items() if name != "gateway"} == dict.fromkeys(
        (*CHAIN, "text-to-image"), 0
    )


def accepted(client: httpx2.Client, **asked: object) -> str:
    """The job of a clip."""
    answer = client.post("/v1/videos", json={**CLIP, **asked}, timeout=300)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def taken_away(release: Release, *options: str) -> None:
    """Deletes the pod that draws, as soon as Kubernetes knows that one does."""
    busy = "controller.kubernetes.io/pod-deletion-cost"

    def drawing() -> list[str]:
        pods = release.listed("animation")
        return [pod["metadata"]["name"] for pod in pods if busy in pod["metadata"].get("annotations", {})]

    release.cluster.until(lambda: bool(drawing()), "a pod of animation that is known as busy")
    release.kubectl("delete", "pod", "--wait=false", *options, *drawing())


def frames_of(client: httpx2.Client, clip: str) -> NDArray[np.uint8]:
    """The clip's frames; what is signed about them has a time of its own."""
    content = client.get(f"/v1/videos/{clip}/content").raise_for_status().content
    with Image.open(BytesIO(content)) as file:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)])
