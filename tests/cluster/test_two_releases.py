"""Two releases in one cluster: neither has anything of the other's, and one goes without the other noticing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from .cluster import Cluster
from .release import PICTURE, Release, drawn, installed

pytestmark = pytest.mark.timeout(900)

KNOWN = ("--set-json", 'serviceAccountTokens.tenants={"birds:painter": {"tenant": "birds"}}')
"""Gives a release an object that is of no namespace."""


@pytest.fixture(scope="module")
def releases(cluster: Cluster) -> Iterator[tuple[Release, Release]]:
    """Both, ready."""
    with installed(cluster, "birds", *KNOWN) as one, installed(cluster, "fish", *KNOWN) as other:
        yield one, other


def test_both_draw_and_neither_knows_the_others_keys(releases: tuple[Release, Release]) -> None:
    one, other = releases
    for release, stranger in ((one, other), (other, one)):
        assert drawn(release)
        with release.reached() as client:
            headers = {"Authorization": f"Bearer {stranger.key}"}
            answer = client.post("/v1/images/generations", json=PICTURE, headers=headers)
        assert answer.status_code == httpx2.codes.UNAUTHORIZED


def test_one_is_uninstalled_and_the_other_draws_on(releases: tuple[Release, Release]) -> None:
    one, other = releases
    before = other.pods()
    one.cluster.helm("uninstall", one.namespace, "--namespace", one.namespace, "--wait")
    bound = json.loads(one.cluster.kubectl("get", "clusterrolebindings", "--output", "json"))["items"]
    names = {each["metadata"]["name"] for each in bound}
    assert not any(name.startswith(f"{one.namespace}-") for name in names)
    assert f"{other.namespace}-{other.namespace}-token-review" in names
    assert other.pods() == before
    assert drawn(other)
