"""The images as they ship, on a base without a shell: what they weigh over it, and what is listed in them."""

from __future__ import annotations

import pytest

from .cluster import Cluster
from .product_images import RUNTIME_IMAGE, SHELLS, TAG, TARGETS, archive, listed
from .release import MODELS, Release

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

MOST_MEGABYTES = {"gateway": 200.0, "model": 500.0}
"""Over the base; the issue's."""
LISTS = "import json; print(len(json.load(open('/opt/bowerbird/sbom.cdx.json'))['components']))"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_weighs_no_more_over_its_base_than_it_may(cluster: Cluster, target: str) -> None:
    archive(target)
    sizes = listed()
    over = sizes[f"localhost/{TARGETS[target]}:{TAG}"] - sizes[RUNTIME_IMAGE]
    assert 50 < over <= MOST_MEGABYTES[target]


@pytest.mark.parametrize("component", ["gateway", "text-to-image"])
def test_what_is_in_an_image_is_listed_in_it(bowerbird: Release, component: str) -> None:
    (pod,) = bowerbird.pods(component)
    assert int(bowerbird.kubectl("exec", pod, "--container", component, "--", "python", "-c", LISTS)) > 50


def test_containers_run_where_there_is_no_shell(bowerbird: Release) -> None:
    found = f"import os; print([each for each in {SHELLS!r} if os.path.lexists(each)])"
    for component in ("gateway", *MODELS):
        (pod,) = bowerbird.pods(component)
        assert bowerbird.kubectl("exec", pod, "--container", component, "--", "python", "-c", found).strip() == "[]"
