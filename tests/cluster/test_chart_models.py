"""Where a service's bundle comes from: an image, a claim, or a bucket that an init container fetches it from."""

from __future__ import annotations

import os
from typing import Any

import pytest

from .binaries import program
from .chart import KEYS, environment, mounted, objects, pod_of, refusal, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
MODEL = "services.text-to-image.model"
BUCKET = ("--set", f"{MODEL}.url=s3://models/fledgling", "--set", f"{MODEL}.existingSecret=bundles")
DIGEST = "sha256:" + 64 * "a"


def fetching(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod's init container."""
    (found,) = pod["initContainers"]
    return dict(found)


def policy_of(rendered: list[Any], name: str) -> list[Any]:
    """What a service may reach: its egress rules."""
    (found,) = [
        each["spec"]["egress"]
        for each in rendered
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == name
    ]
    return list(found)


def test_a_bundle_in_a_bucket_is_fetched_before_the_service_starts_which_reads_it_there() -> None:
    rendered = objects(render(None, *KEYS, *BUCKET))
    pod = pod_of(rendered, "text-to-image")
    command = fetching(pod)["command"]
    assert command[:3] == ["python", "-m", "bowerbird.engine.fetching"]
    assert command[-2:] == ["s3://models/fledgling", "/models/bundle"]
    assert environment(rendered, "text-to-image")["BOWERBIRD_MODEL"] == command[-1]
    (serving,) = pod["containers"]
    assert {"name": "models", "mountPath": "/models"} in fetching(pod)["volumeMounts"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in serving["volumeMounts"]
    assert {"name": "models", "emptyDir": {"sizeLimit": "8Gi"}} in pod["volumes"]
    others = [pod_of(rendered, name) for name in ("gateway", "safety", "animation", "curation")]
    assert not any("initContainers" in each for each in others)


def test_it_is_fetched_by_the_image_that_speaks_s3() -> None:
    rendered = objects(render(None, *KEYS, *BUCKET, "--set", f"services.gateway.digest={DIGEST}"))
    image = fetching(pod_of(rendered, "text-to-image"))["image"]
    assert image == f"localhost/bowerbird-gateway@{DIGEST}"
    assert image == pod_of(rendered, "gateway")["containers"][0]["image"]


def test_only_who_fetches_has_the_credentials() -> None:
    pod = pod_of(objects(render(None, *KEYS, *BUCKET)), "text-to-image")
    command = fetching(pod)["command"]
    assert mounted(pod, fetching(pod), command[command.index("--secrets") + 1]) == "bundles"
    (serving,) = pod["containers"]
    assert not any(mounted(pod, serving, each["mountPath"]) for each in serving["volumeMounts"])


def test_who_fetches_is_as_restricted_as_who_serves_and_leaves_last_words() -> None:
    pod = pod_of(objects(render(None, *KEYS, *BUCKET)), "text-to-image")
    (serving,) = pod["containers"]
    for same in ("securityContext", "resources", "imagePullPolicy"):
        assert fetching(pod)[same] == serving[same]
    assert fetching(pod)["securityContext"]["readOnlyRootFilesystem"] is True
    assert fetching(pod)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_digest_a_folder_and_a_size_are_said_where_they_count() -> None:
    wanted = [f"{MODEL}.digest={DIGEST}", f"{MODEL}.path=birds/1", f"{MODEL}.size=30Gi"]
    rendered = objects(render(None, *KEYS, *BUCKET, *(word for each in wanted for word in ("--set", each))))
    pod = pod_of(rendered, "text-to-image")
    assert fetching(pod)["command"][-3:] == ["/models/birds/1", "--digest", DIGEST]
    assert environment(rendered, "text-to-image")["BOWERBIRD_MODEL"] == "/models/birds/1"
    assert {"name": "models", "emptyDir": {"sizeLimit": "30Gi"}} in pod["volumes"]


@pytest.mark.parametrize("source", ["image=registry.example.com/models:1", "claim=models"])
def test_what_is_mounted_is_not_fetched(source: str) -> None:
    rendered = objects(render(None, *KEYS, "--set", f"{MODEL}.{source}", "--set", f"{MODEL}.path=mine"))
    assert "initContainers" not in pod_of(rendered, "text-to-image")
    assert {"port": 443} not in [port for rule in policy_of(rendered, "text-to-image") for port in rule["ports"]]


def test_a_service_reaches_the_bucket_of_its_bundle_and_no_other_service_does() -> None:
    network = ("--set", f"{MODEL}.cidr=10.20.5.0/24", "--set", f"{MODEL}.port=9000")
    rendered = objects(render(None, *KEYS, *BUCKET, *network))
    rule = {"ports": [{"port": 9000}], "to": [{"ipBlock": {"cidr": "10.20.5.0/24"}}]}
    assert rule in policy_of(rendered, "text-to-image")
    for other in ("gateway", "safety", "animation", "curation"):
        assert rule not in policy_of(rendered, other)
    anywhere = policy_of(objects(render(None, *KEYS, *BUCKET)), "text-to-image")
    assert {"ports": [{"port": 443}]} in anywhere


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["url=s3://models/x", "claim=models", "path=x"], "image, claim and url are three ways to the same"),
        (["url=s3://models/x", "image=models:1", "path=x"], "image, claim and url are three ways to the same"),
        (["image=models:1", "claim=models", "path=x"], "image, claim and url are three ways to the same"),
        (["claim=models"], "model.path is empty"),
        (["path=x"], "nothing holds the bundle"),
        (["claim=models", "path=x", "existingSecret=bundles"], "are for a bucket, and model.url names none"),
        ([f"digest={DIGEST}"], "are for a bucket, and model.url names none"),
        (["url=https://models.example.com/x"], "/model/url"),
        (["url=s3://models/x", "digest=sha256:1"], "/model/digest"),
        (["url=s3://models/x", "size="], "/model/size"),
        (["url=s3://models/x", "bucket=models"], "bucket"),
    ],
)
def test_what_makes_no_sense_is_refused(values: list[str], sentence: str) -> None:
    assert sentence in refusal(*KEYS, *(word for each in values for word in ("--set", f"{MODEL}.{each}")))


@pytest.mark.parametrize("service", ["gateway", "safety"])
def test_a_service_without_a_model_fetches_none(service: str) -> None:
    assert "takes no bundle" in refusal(*KEYS, "--set", f"services.{service}.model.url=s3://models/x")
