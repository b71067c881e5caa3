"""What the chart lets anybody ask of the API server: a list, and nothing beside it.

`test_rights` asks a real API server the same of who stays; this is also about who is gone after an installation.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .binaries import program
from .chart import EXAMPLES, KEDA, objects, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
LOOKS = {"list,watch discovery.k8s.io/endpointslices", "list,patch pods"}


def wakes(services: str) -> dict[str, set[str]]:
    """What it takes to wake these, and to install them with no pod."""
    deeds = {"get apps/deployments", "get,patch apps/deployments/scale", "get keda.sh/scaledobjects"}
    gateway = LOOKS | {"list events"} | {f"{deed} {services}" for deed in deeds}
    return {"gateway": gateway, "own-replicas": {f"patch apps/deployments {services}"}}


ROLES: dict[str, dict[str, set[str]]] = {
    "laptop": {},
    "gpu-node": wakes("text-to-image"),
    "gpu-nodes": wakes("animation,curation,safety,text-to-image"),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_a_role_allows_what_is_listed_here_and_is_bound_to_who_has_its_name(example: Path) -> None:
    rendered = objects(render(example, *KEDA))
    assert not [each for each in rendered if each["kind"] == "ClusterRole"]
    allowed = {each["metadata"]["name"]: rules(each) for each in rendered if each["kind"] == "Role"}
    assert allowed == ROLES[example.stem]
    bound = {
        each["roleRef"]["name"]: [subject["name"] for subject in each["subjects"]]
        for each in rendered
        if each["kind"] == "RoleBinding"
    }
    assert bound == {name: [name] for name in allowed}


def rules(role: dict[str, Any]) -> set[str]:
    """Verbs, resource, and the names that it is about, if any."""
    found = set()
    for rule in role["rules"]:
        verbs, names = ",".join(rule["verbs"]), ",".join(rule.get("resourceNames", ()))
        resources = [f"{group}/{each}".strip("/") for group in rule["apiGroups"] for each in rule["resources"]]
        found |= {f"{verbs} {resource} {names}".strip() for resource in resources}
    return found
