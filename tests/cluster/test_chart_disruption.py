"""What may disturb a release's pods, as the chart says it: who goes first, how many at once, how long they have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from bowerbird.settings import Settings

from .binaries import program
from .chart import EXAMPLES, KEYS, environment, objects, pod_of, refusal, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
MODELS = ("safety", "text-to-image", "animation", "curation")
SERVICES = ("gateway", *MODELS)
HUNG_SECONDS = 30
NOTICE_SECONDS = 5
"""In which a gateway that is told to end is still found, and serves as ever."""
SLOWER = ("--set", "services.gateway.settings.request_timeout_seconds=600")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_priority_classes_are_named_where_values_say_so_and_made_nowhere(example: Path) -> None:
    rendered, said = objects(render(example)), yaml.safe_load(example.read_text(encoding="utf-8"))["services"]
    pods = {name: each["spec"]["template"]["spec"] for name, each in named(rendered, "Deployment").items()}
    assert not named(rendered, "PriorityClass")
    for name, pod in pods.items():
        assert pod.get("priorityClassName") == (said.get(name) or {}).get("priorityClassName")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_one_pod_of_a_service_may_go_at_a_time_and_a_broken_one_always(example: Path) -> None:
    rendered = objects(render(example))
    budgets = named(rendered, "PodDisruptionBudget")
    assert budgets.keys() == named(rendered, "Deployment").keys()
    for budget in budgets.values():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_what_hangs_is_not_given_the_time_that_work_is_given_to_end() -> None:
    for each in objects(render(None, *KEYS)):
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["livenessProbe"]["terminationGracePeriodSeconds"] <= HUNG_SECONDS
            assert pod["terminationGracePeriodSeconds"] > HUNG_SECONDS


@pytest.mark.parametrize("setting", ["services.gateway", "defaults"])
@pytest.mark.parametrize("seconds", [0.5, 120, 600.5, 3600])
def test_a_pod_that_is_told_to_end_has_the_time_that_the_longest_request_takes(setting: str, seconds: float) -> None:
    longer = [f"{setting}.settings.{name}_timeout_seconds={seconds}" for name in ("queue", "request")]
    rendered = objects(render(None, *KEYS, *(word for each in longer for word in ("--set", each))))
    said = Settings.model_validate({"drain_seconds": environment(rendered, "gateway")["BOWERBIRD_DRAIN_SECONDS"]})
    assert said.drain_seconds >= 2 * seconds, "it may wait as long as it is computed"
    assert grace_of(rendered, "gateway") >= NOTICE_SECONDS + said.drain_seconds
    for model in MODELS:
        assert drained_seconds(rendered, model) > seconds
        assert grace_of(rendered, model) > seconds + 10


def test_a_chart_that_is_told_no_time_takes_the_one_that_the_settings_have_by_default() -> None:
    defaults = {name: Settings.model_fields[f"{name}_timeout_seconds"].default for name in ("queue", "request")}
    values = [f"defaults.settings.{name}_timeout_seconds={seconds}" for name, seconds in defaults.items()]
    unstated = objects(render(None, *KEYS))
    stated = objects(render(None, *KEYS, *(word for each in values for word in ("--set", each))))
    for service in SERVICES:
        assert grace_of(unstated, service) == grace_of(stated, service)


def test_more_time_than_the_longest_request_takes_is_given_where_it_is_said() -> None:
    rendered = objects(render(None, *KEYS, "--set", "defaults.terminationSeconds=400"))
    assert environment(rendered, "gateway")["BOWERBIRD_DRAIN_SECONDS"] == "390"
    assert drained_seconds(rendered, "safety") == 390
    assert grace_of(rendered, "safety") == 400


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--set", "services.gateway.terminationSeconds=249"), "needs 250 to finish what it has"),
        (("--set", "services.safety.terminationSeconds=600", *SLOWER), "services.safety.terminationSeconds is 600"),
    ],
)
def test_less_time_is_refused(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*KEYS, *options)


def grace_of(rendered: list[Any], service: str) -> int:
    """Seconds between a pod's being told to end and its end."""
    return int(pod_of(rendered, service)["terminationGracePeriodSeconds"])


def drained_seconds(rendered: list[Any], service: str) -> int:
    """How long its container is waited for before it is told to end."""
    (container,) = pod_of(rendered, service)["containers"]
    asked = str(container["lifecycle"]["preStop"]["httpGet"]["path"])
    return int(asked.removeprefix("/drain?seconds="))


def named(rendered: list[Any], kind: str) -> dict[str, Any]:
    """The objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in rendered if each["kind"] == kind}
