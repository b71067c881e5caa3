"""The chart without a cluster: what it renders, what it refuses, and that its derived files are those of its values."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .binaries import program
from .chart import (
    CHART,
    EXAMPLES,
    KEDA,
    KEYS,
    RENDERED,
    environment,
    objects,
    pod_of,
    readme,
    refusal,
    render,
    undocumented,
)

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
MODELS = ("safety", "text-to-image", "animation", "curation")
ASLEEP = (*KEYS, *KEDA, "--set", "defaults.scaling.kind=keda", "--set", "services.gateway.scaling.kind=fixed")

OFFICE = {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin", "seconds": 36_000, "pods": 2}
TLS = ("--set", "keda.tls.existingSecret=gateways")


def test_helm_finds_nothing_to_say_against_it() -> None:
    done = subprocess.run(
        [str(program("helm")), "lint", "--strict", str(CHART), *KEYS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_renders_as_it_was_committed(example: Path) -> None:
    assert render(example) == (RENDERED / example.name).read_text(encoding="utf-8"), "python -m tests.cluster chart"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_a_secret_is_a_folder_that_the_kubelet_renews_and_never_a_variable(example: Path) -> None:
    assert not [word for word in ("envFrom", "secretKeyRef", "subPath") if word in render(example)]


def test_the_readme_is_that_of_the_values() -> None:
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme(), "python -m tests.cluster chart"


def test_every_manifest_beside_the_chart_is_in_its_list() -> None:
    folder = CHART.parents[1] / "manifests"
    listed = re.findall(r"^\| `([\w-]+\.yaml)` \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(each.name for each in folder.glob("*.yaml"))


def test_every_value_is_explained() -> None:
    assert undocumented() == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((*KEYS, "--set", "gateway.replicas=2"), "gateway"),
        ((*KEYS, "--set", "services.gateway.replica=2"), "replica"),
        ((*KEYS, "--set", "services.painter.replicas=1"), "painter"),
        ((*KEYS, "--set", "services.safety.accelerator.resource=gpu"), "/services/safety/accelerator/resource"),
        ((*KEYS, "--set", "telemetry.logLevel=LOUD"), "INFO"),
        ((*KEYS, "--set", "services.gateway.replicas=0"), "/services/gateway/replicas"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(options: tuple[str, ...], names: str) -> None:
    assert names in refusal(*options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "credentials.existingSecret is empty"),
        ((*KEYS, "--set", "credentials.adminKeys="), "nobody would have a key"),
        ((*KEYS, "--set", "services.gateway.replicas=2"), "several gateways share one PostgreSQL"),
        ((*KEYS, "--set", "database.existingSecret=db"), "webhooks.existingSecret is empty"),
        (
            (*KEYS, "--set", "database.existingSecret=db", "--set", "webhooks.existingSecret=hooks"),
            "pictures.url is empty",
        ),
        ((*KEYS, *KEDA, "--set", "services.gateway.scaling.kind=keda"), "the gateway is what wakes the others"),
        ((*KEYS, "--set", "services.safety.scaling.kind=keda"), "this cluster has no KEDA"),
        ((*KEYS, "--set", "services.safety.scaling.kind=hpa"), "minReplicas must be 1 or more"),
        ((*KEYS, "--set-json", 'services.safety.scaling.metrics=[{"type": "Resource"}]'), "is for kind hpa"),
        ((*ASLEEP, "--set", "services.safety.scaling.minReplicas=2"), "is more than maxReplicas"),
        ((*KEYS, "--set", "services.safety.scaling.floor=1"), "are for kind keda"),
        ((*ASLEEP, "--set", "services.safety.scaling.floor=2"), "floor is more than maxReplicas"),
        ((*ASLEEP, "--set-json", f"defaults.scaling.schedules=[{json.dumps(OFFICE)}]"), "more pods than maxReplicas"),
        ((*ASLEEP, "--set", "keda.tls.clientSecret=keda"), "keda.tls.existingSecret is empty"),
        ((*KEYS, "--set", "services.gateway.settings.drain_seconds=9"), "gives BOWERBIRD_DRAIN_SECONDS by values"),
        ((*KEYS, "--set", "services.safety.settings.log_level=DEBUG"), "gives BOWERBIRD_LOG_LEVEL by values"),
        ((*KEYS, "--set", "services.gateway.scaling.kind=hpa"), "several gateways share one PostgreSQL"),
        ((*KEYS, "--set", "services.curation.model.image=judge:1"), "model.path is empty"),
        ((*KEYS, "--set", "services.safety.model.path=x"), "takes no bundle"),
        ((*KEYS, "--set", "defaults.settings.backend=tensorrt"), "bowerbird-inference computes on CPUs"),
    ],
)
def test_values_that_make_no_sense_together_are_refused_with_a_sentence(
    options: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refusal(*options)


def test_releases_of_two_namespaces_have_no_object_in_common() -> None:
    assert not identities("birds", "birds") & identities("birds", "fish")


def test_what_is_of_no_namespace_is_called_after_its_release() -> None:
    common = identities("birds", "birds") & identities("fish", "birds")
    assert {namespace for _, namespace, _ in common} == {"birds"}, "within one namespace Helm refuses the second"


def identities(release: str, namespace: str) -> set[tuple[str, str | None, str]]:
    """By what the API server tells the objects of a large release from others."""
    tokens = ("--set-json", 'serviceAccountTokens.tenants={"birds:painter": {"tenant": "birds"}}')
    rendered = objects(render(CHART / "examples" / "gpu-nodes.yaml", *tokens, release=release, namespace=namespace))
    found = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in rendered}
    assert any(each[1] is None for each in found)
    return found


def test_a_gpu_service_never_asks_for_one_pod_more_than_there_are_gpus() -> None:
    strategies = [
        each["spec"]["strategy"]["rollingUpdate"]
        for each in objects(render(CHART / "examples" / "gpu-node.yaml"))
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "text-to-image"
    ]
    assert strategies == [{"maxSurge": 0, "maxUnavailable": 1}] * 2  # made by a hook first, then by the release


@pytest.mark.parametrize("image", ["image=bowerbird-inference-cuda", f"digest=sha256:{64 * 'a'}"])
def test_a_gpus_backend_is_for_an_image_that_may_have_it(image: str) -> None:
    gpu = ("--set", "services.text-to-image.settings.backend=cuda", "--set", f"services.text-to-image.{image}")
    assert environment(objects(render(None, *KEYS, *gpu)), "text-to-image")["BOWERBIRD_BACKEND"] == "cuda"


def test_a_count_that_keda_owns_is_in_no_manifest_of_the_release() -> None:
    rendered = objects(render(None, *ASLEEP))
    hooks = [each for each in rendered if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert counts([each for each in rendered if each not in hooks]) == {"gateway": 1, **dict.fromkeys(MODELS)}
    assert counts(hooks) == dict.fromkeys(MODELS, 0)


def counts(rendered: list[Any]) -> dict[str, int | None]:
    """What is said of how many pods each Deployment has."""
    deployments = [each for each in rendered if each["kind"] == "Deployment"]
    return {each["metadata"]["name"]: each["spec"].get("replicas") for each in deployments}


def test_a_setting_is_the_json_that_the_services_read() -> None:
    stated: dict[str, object] = {"result_bytes": 2 * 1024**3, "limits_alone_part": 0.5, "webhook_plain_http": True}
    stated |= {"tenant_weights": {"birds": 2}, "webhook_networks": ["10.0.0.0/8"]}
    rendered = objects(render(None, *KEYS, "--set-json", f"services.gateway.settings={json.dumps(stated)}"))
    said = environment(rendered, "gateway")
    assert {name: json.loads(said[f"BOWERBIRD_{name.upper()}"]) for name in stated} == stated


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("text-to-image", "BOWERBIRD_MODEL"),
        ("animation", "BOWERBIRD_MOTION_MODEL"),
        ("curation", "BOWERBIRD_JUDGE"),
    ],
)
def test_a_bundle_is_mounted_and_named_as_its_service_reads_it(service: str, variable: str) -> None:
    of_it = f"services.{service}.model"
    rendered = objects(render(None, *KEYS, "--set", f"{of_it}.claim=models", "--set", f"{of_it}.path=mine"))
    assert environment(rendered, service)[variable] == "/models/mine"
    pod = pod_of(rendered, service)
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in pod["volumes"]
    assert variable not in environment(objects(render(None, *KEYS)), service)


def test_what_is_said_of_waking_reaches_the_gateway() -> None:
    wanted = ["--set", "services.safety.scaling.floor=1", "--set", "services.curation.scaling.maxReplicas=2"]
    wanted += ["--set-json", f"services.curation.scaling.schedules=[{json.dumps(OFFICE)}]"]
    said = environment(objects(render(None, *ASLEEP, *wanted)), "gateway")
    assert json.loads(said["BOWERBIRD_STAGES_ASLEEP"]) == sorted(MODELS)
    assert json.loads(said["BOWERBIRD_DEMAND_FLOORS"]) == {"safety": 1}
    assert json.loads(said["BOWERBIRD_DEMAND_SCHEDULES"]) == [{"service": "curation", **OFFICE}]
    assert (said["BOWERBIRD_WAKE_SECONDS"], said["BOWERBIRD_NODE_SECONDS"]) == ("300", "600")


def test_keda_and_the_gateway_show_each_other_certificates_where_secrets_are_named() -> None:
    rendered = objects(render(None, *ASLEEP, *TLS, "--set", "keda.tls.clientSecret=kedas"))
    assert authentications(rendered) == [{"name": "scaler"}] * len(MODELS)
    (trusted,) = [each["spec"]["secretTargetRef"] for each in rendered if each["kind"] == "TriggerAuthentication"]
    assert {each["parameter"]: (each["name"], each["key"]) for each in trusted} == {
        "caCert": ("kedas", "ca.crt"),
        "tlsClientCert": ("kedas", "tls.crt"),
        "tlsClientKey": ("kedas", "tls.key"),
    }
    pod = pod_of(rendered, "gateway")
    (mounted,) = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "scaler"]
    (secret,) = [each["secret"] for each in pod["volumes"] if each["name"] == "scaler"]
    assert secret["secretName"] == "gateways"
    said = environment(rendered, "gateway")
    files = [said[f"BOWERBIRD_SCALER_{name}"] for name in ("CERTIFICATE", "KEY", "CLIENT_CA")]
    assert files == [f"{mounted}/{item['path']}" for item in secret["items"]]


def test_without_such_secrets_nothing_is_said_of_certificates() -> None:
    rendered = render(None, *ASLEEP)
    assert authentications(objects(rendered)) == [None] * len(MODELS)
    assert "TriggerAuthentication" not in rendered
    assert "BOWERBIRD_SCALER_CERTIFICATE" not in rendered


def authentications(rendered: list[Any]) -> list[dict[str, str] | None]:
    """How each ScaledObject's trigger says who it is."""
    triggers = [each["spec"]["triggers"] for each in rendered if each["kind"] == "ScaledObject"]
    return [trigger.get("authenticationRef") for (trigger,) in triggers]
