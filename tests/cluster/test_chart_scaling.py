"""Accelerators and numbers of pods, as the chart says them: by resource or claim, fixed or counted by a metric."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .binaries import program
from .chart import EXAMPLES, KEDA, KEYS, objects, pod_of, refusal, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
DRAWS = "services.text-to-image"
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
COUNTED: tuple[str, ...] = ("--set", f"{DRAWS}.scaling.kind=hpa", "--set", f"{DRAWS}.scaling.minReplicas=2")
COUNTED += ("--set", f"{DRAWS}.scaling.maxReplicas=5", "--set-json", f"{DRAWS}.scaling.metrics={json.dumps([CPU])}")
BY_DEMAND = ("--set", "defaults.scaling.kind=keda", "--set", "services.gateway.scaling.kind=fixed")


def claimed(*options: str) -> list[Any]:
    """What is rendered where text-to-image claims two devices of a class."""
    return objects(render(None, *KEYS, "--set", f"{DRAWS}.accelerator.deviceClass=gpu.nvidia.com", *options))


@pytest.mark.parametrize(
    ("accelerator", "keys"),
    [
        ("resource=nvidia.com/gpu", ["nvidia.com/gpu"]),
        ("resource=nvidia.com/mig-3g.40gb", ["nvidia.com/mig-3g.40gb", "nvidia.com/gpu"]),
        ("resource=nvidia.com/gpu.shared", ["nvidia.com/gpu.shared", "nvidia.com/gpu"]),
        ("resource=example.com/chip", ["example.com/chip"]),
        ("deviceClass=gpu.nvidia.com", ["nvidia.com/gpu"]),
        ("deviceClass=chip.example.com", []),
    ],
)
def test_the_taints_of_nodes_that_have_its_accelerator_are_tolerated(accelerator: str, keys: list[str]) -> None:
    pod = pod_of(objects(render(None, *KEYS, "--set", f"{DRAWS}.accelerator.{accelerator}")), "text-to-image")
    assert [each["key"] for each in pod.get("tolerations", ())] == keys


def templates(rendered: list[Any]) -> list[Any]:
    """ResourceClaimTemplates."""
    return [each for each in rendered if each["kind"] == "ResourceClaimTemplate"]


def deployment(rendered: list[Any]) -> dict[str, Any]:
    """Text-to-image's."""
    named = ("Deployment", "text-to-image")
    (found,) = [each for each in rendered if (each["kind"], each["metadata"]["name"]) == named]
    return dict(found["spec"])


def rules(rendered: list[Any]) -> list[Any]:
    """What the gateway may do to the API server."""
    roles = [each for each in rendered if each["kind"] == "Role" and each["metadata"]["name"] == "gateway"]
    return [rule for role in roles for rule in role["rules"]]


def test_a_device_class_is_claimed_by_every_pod() -> None:
    memory = 'device.capacity["gpu.nvidia.com"].memory.compareTo(quantity("40Gi")) >= 0'
    more = (
        "--set",
        f"{DRAWS}.accelerator.count=2",
        "--set-json",
        f"{DRAWS}.accelerator.selectors={json.dumps([memory])}",
    )
    rendered = claimed(*more)
    (template,) = templates(rendered)
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request == {
        "name": "accelerator",
        "exactly": {
            "deviceClassName": "gpu.nvidia.com",
            "allocationMode": "ExactCount",
            "count": 2,
            "selectors": [{"cel": {"expression": memory}}],
        },
    }
    pod = pod_of(rendered, "text-to-image")
    assert pod["resourceClaims"] == [{"name": "accelerator", "resourceClaimTemplateName": template["metadata"]["name"]}]
    resources = pod["containers"][0]["resources"]
    assert resources["claims"] == [{"name": "accelerator"}]
    assert not any("/" in name for name in resources["limits"])
    assert deployment(rendered)["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_template_that_asks_for_something_else_has_another_name() -> None:
    """It cannot be changed: `helm upgrade` makes another one, and the pods before keep theirs until they are gone."""
    names = [
        templates(claimed(*more))[0]["metadata"]["name"] for more in ((), ("--set", f"{DRAWS}.accelerator.count=2"))
    ]
    assert len(set(names)) == 2
    assert names[0] == templates(claimed())[0]["metadata"]["name"]


def test_an_existing_template_is_claimed_by_its_name() -> None:
    rendered = objects(render(None, *KEYS, "--set", f"{DRAWS}.accelerator.claimTemplate=a-quarter"))
    assert templates(rendered) == []
    (claim,) = pod_of(rendered, "text-to-image")["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == "a-quarter"


def test_a_metric_counts_the_pods_and_helm_does_not() -> None:
    rendered = objects(render(None, *KEYS, *COUNTED))
    (scaler,) = [each["spec"] for each in rendered if each["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "text-to-image"}
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["metrics"]) == (2, 5, [CPU])
    assert "replicas" not in deployment(rendered)
    (gateway,) = pod_of(rendered, "gateway")["containers"]
    assert "BOWERBIRD_KUBERNETES_NAMESPACE" in {each["name"] for each in gateway["env"]}, "it finds them all"
    assert "BOWERBIRD_STAGES_ASLEEP" not in {each["name"] for each in gateway["env"]}, "there is always one"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_keda_asks_every_other_second_and_has_no_count_of_its_own_for_a_gateway_that_does_not_answer(
    example: Path,
) -> None:
    asked = [each["spec"] for each in objects(render(example)) if each["kind"] == "ScaledObject"]
    assert bool(asked) == (example.stem != "laptop")
    assert {each["pollingInterval"] for each in asked} <= {2}
    assert not [each for each in asked if "fallback" in each]


def test_a_fixed_number_is_what_helm_says() -> None:
    rendered = objects(render(None, *KEYS, "--set", f"{DRAWS}.replicas=3"))
    assert deployment(rendered)["replicas"] == 3
    assert not [each for each in rendered if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]


@pytest.mark.parametrize(
    "options",
    [COUNTED, ("--set", f"{DRAWS}.replicas=3"), ("--set", "services.animation.replicas=2"), (*KEDA, *BY_DEMAND)],
    ids=["a metric", "pictures", "clips", "demand"],
)
def test_wherever_the_gateway_finds_pods_it_may_say_which_of_them_are_busy(options: tuple[str, ...]) -> None:
    rendered = objects(render(None, *KEYS, *options))
    (gateway,) = pod_of(rendered, "gateway")["containers"]
    assert "BOWERBIRD_KUBERNETES_NAMESPACE" in {each["name"] for each in gateway["env"]}
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]} in rules(rendered)


def test_where_there_is_one_pod_of_each_the_gateway_asks_and_may_nothing() -> None:
    rendered = objects(render(None, *KEYS))
    (gateway,) = pod_of(rendered, "gateway")["containers"]
    assert "BOWERBIRD_KUBERNETES_NAMESPACE" not in {each["name"] for each in gateway["env"]}
    assert rules(rendered) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--set", "services.safety.accelerator.selectors={device.driver}"),
            "selectors choose among the devices of deviceClass",
        ),
        (("--set", "services.safety.accelerator.count=2"), "count is 2, of nothing"),
        (("--set", "services.gateway.accelerator.resource=nvidia.com/gpu"), "the gateway computes nothing"),
        (
            ("--set", f"{DRAWS}.accelerator.resource=nvidia.com/gpu", "--set", f"{DRAWS}.accelerator.deviceClass=gpu"),
            "three ways to the same",
        ),
        ((*COUNTED, "--set", f"{DRAWS}.scaling.floor=1"), "are for kind keda"),
        ((*COUNTED, "--set", f"{DRAWS}.scaling.minReplicas=0"), "minReplicas must be 1 or more"),
        ((*COUNTED, "--set", f"{DRAWS}.scaling.minReplicas=6"), "is more than maxReplicas"),
        ((*COUNTED, "--set-json", f"{DRAWS}.scaling.metrics=[]"), "metrics must name what is counted"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*KEYS, *options)
