"""TLS within a release, as the chart makes it: who mounts what, who is asked where, and that without it nothing is."""

from __future__ import annotations

import os
from typing import Any

import pytest

from .binaries import program
from .chart import KEYS, environment, objects, pod_of, refusal, render

pytestmark = pytest.mark.skipif(
    not program("helm").exists() and not os.environ.get("CI"),
    reason="helm is not built here (python -m tests.go_programs, with Go)",
)
SERVICES = ("gateway", "safety", "text-to-image", "animation", "curation")
INSIDE = (*KEYS, "--set", "tls.existingSecret=inside")
MANAGER = ("--api-versions", "cert-manager.io/v1")
ISSUED = (*KEYS, *MANAGER, "--set", "tls.issuer.name=house")
SEVERAL = (
    "--set",
    "database.existingSecret=db",
    "--set",
    "webhooks.existingSecret=hooks",
    "--set",
    "pictures.url=s3://p",
)
PROMETHEUS = ("--set-json", 'networkPolicy.prometheus=[{"namespaceSelector": {}}]')
HEALTH, REPLICAS = 9091, 9092


def named(rendered: list[Any], kind: str, name: str) -> dict[str, Any]:
    """One object."""
    (found,) = [each for each in rendered if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return dict(found)


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_has_a_certificate_and_says_by_which_name_it_knows_the_others(service: str) -> None:
    rendered = objects(render(None, *INSIDE))
    pod, said = pod_of(rendered, service), environment(objects(render(None, *INSIDE)), service)
    (mounted,) = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "inside"]
    (secret,) = [each["secret"] for each in pod["volumes"] if each["name"] == "inside"]
    assert secret["secretName"] == "inside"
    files = [said[f"BOWERBIRD_TLS_{name}"] for name in ("CERTIFICATE", "KEY", "CA")]
    assert files == [f"{mounted}/{item['path']}" for item in secret["items"]]
    assert said["BOWERBIRD_TLS_NAME"] == "bowerbird.bowerbird"


def test_the_gateway_asks_by_tls_and_the_kubelet_and_prometheus_do_without() -> None:
    rendered = objects(render(None, *INSIDE, *PROMETHEUS))
    assert environment(rendered, "gateway")["BOWERBIRD_TEXT_TO_IMAGE_URL"] == "https://text-to-image:3000"
    (container,) = pod_of(rendered, "text-to-image")["containers"]
    assert container["args"][-2:] == ["--health-port", str(HEALTH)]
    asked = [container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    asked.append(container["lifecycle"]["preStop"]["httpGet"])
    assert {each["port"] for each in asked} == {"health"}
    assert {"name": "health", "containerPort": HEALTH} in container["ports"]
    (gateway,) = pod_of(rendered, "gateway")["containers"]
    assert gateway["readinessProbe"]["httpGet"]["port"] == "http", "clients speak to it as ever"
    opened = [(len(rule["from"]), rule["ports"]) for rule in ingress(rendered, "safety")]
    assert opened == [(1, [{"port": 3000}]), (1, [{"port": HEALTH}])]


def test_prometheus_operator_finds_each_where_it_answers() -> None:
    rendered = objects(render(None, *INSIDE, "--set", "telemetry.serviceMonitor.enabled=true"))
    monitors = [each["spec"] for each in rendered if each["kind"] == "ServiceMonitor"]
    assert {each["endpoints"][0]["port"]: each["selector"]["matchExpressions"][0]["operator"] for each in monitors} == {
        "http": "In",
        "health": "NotIn",
    }
    ports = {each["name"]: each["port"] for each in named(rendered, "Service", "curation")["spec"]["ports"]}
    assert ports == {"http": 3000, "health": HEALTH}


def test_gateways_come_to_each_other_at_a_port_of_their_own() -> None:
    rendered = objects(render(None, *INSIDE, *SEVERAL))
    said = environment(rendered, "gateway")
    assert said["BOWERBIRD_REPLICA_URL"] == f"https://$(POD_IP):{REPLICAS}"
    assert said["BOWERBIRD_REPLICA_PORT"] == str(REPLICAS)
    (opened,) = [rule["from"] for rule in ingress(rendered, "gateway") if rule["ports"] == [{"port": REPLICAS}]]
    (peer,) = opened
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    leaving = named(rendered, "NetworkPolicy", "gateway")["spec"]["egress"]
    assert any({"port": REPLICAS} in rule["ports"] for rule in leaving if peer in rule.get("to", []))


@pytest.mark.parametrize("service", SERVICES)
def test_cert_manager_is_asked_for_a_certificate_of_each_service(service: str) -> None:
    rendered = objects(render(None, *ISSUED, "--set", "tls.issuer.kind=ClusterIssuer"))
    asked = named(rendered, "Certificate", service)["spec"]
    assert asked["issuerRef"] == {"name": "house", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert asked["dnsNames"] == [environment(rendered, service)["BOWERBIRD_TLS_NAME"]]
    (secret,) = [
        each["secret"]["secretName"] for each in pod_of(rendered, service)["volumes"] if each["name"] == "inside"
    ]
    assert secret == asked["secretName"] == f"{service}-tls"


def test_without_either_nothing_is_said_of_it() -> None:
    rendered = render(None, *KEYS, *SEVERAL)
    assert not any(
        word in rendered for word in ("BOWERBIRD_TLS", "https://", "health-port", str(HEALTH), str(REPLICAS))
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((*INSIDE, *MANAGER, "--set", "tls.issuer.name=house"), "tls.existingSecret and tls.issuer.name are both set"),
        ((*KEYS, "--set", "tls.issuer.name=house"), "this cluster has no cert-manager"),
        ((*KEYS, "--set", "tls.issuer.nane=house"), "nane"),
        ((*INSIDE, "--set", "services.safety.settings.tls_name=x"), "gives BOWERBIRD_TLS_NAME by values"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*options)


def ingress(rendered: list[Any], service: str) -> list[dict[str, Any]]:
    """Who may come in, by rule."""
    rules: list[dict[str, Any]] = named(rendered, "NetworkPolicy", service)["spec"]["ingress"]
    return rules
