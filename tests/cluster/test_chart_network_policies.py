"""Who may reach whom: a table, against the policies of the largest example, as cyclonus reads them.

Nothing here enforces policies (no network plugin that does is to be had as a Go module), so their meaning is computed,
by the tool that network plugins are tested with: https://github.com/mattfenwick/cyclonus. That each rule is needed is
shown too: without any one of them some line of the table comes out otherwise.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .binaries import program
from .chart import EXAMPLES, NAMESPACE, RENDERED, objects

pytestmark = pytest.mark.skipif(
    not program("cyclonus").exists() and not os.environ.get("CI"),
    reason="cyclonus is not built here (python -m tests.go_programs, with Go)",
)

Policies = list[dict[str, Any]]
Line = tuple[str, str, int, str]
Place = tuple[str, dict[str, str], dict[str, str]]

MODELS = ("safety", "text-to-image", "animation", "curation")
HOOKS = ("migration", "own-replicas")
"""What runs before the release is there."""
ASKING = ("gateway", *MODELS, *HOOKS, "backup", "test")
OWN = (*ASKING, "pre-pull")
PLACES: dict[str, Place] = {
    "client": ("shop", {"images.example.com/client": "true"}, {}),
    "prometheus": ("monitoring", {"kubernetes.io/metadata.name": "monitoring"}, {}),
    "keda": ("keda", {"kubernetes.io/metadata.name": "keda"}, {}),
    "dns": ("kube-system", {}, {"k8s-app": "kube-dns"}),
    "stranger": ("other", {}, {}),
}
"""Pods outside of the release: namespace, its labels, theirs."""
ADDRESSES = {
    "postgresql": "10.20.0.5",
    "s3": "10.20.1.5",
    "api-server": "10.20.2.5",
    "collector": "10.20.3.5",
    "backups": "10.20.4.5",
    "bundles": "10.20.5.5",
    "webhook": "203.0.113.7",
    "internet": "198.51.100.1",
}

ALLOWED: list[Line] = [
    ("client", "gateway", 8000, "TCP"),
    ("gateway", "gateway", 8000, "TCP"),
    ("test", "gateway", 8000, "TCP"),
    ("gateway", "gateway", 9092, "TCP"),
    *(("gateway", model, 3000, "TCP") for model in MODELS),
    ("keda", "gateway", 9090, "TCP"),
    ("prometheus", "gateway", 8000, "TCP"),
    *(("prometheus", model, 9091, "TCP") for model in MODELS),
    *((own, "dns", port, protocol) for own in ASKING for port in (53, 5353) for protocol in ("UDP", "TCP")),
    *((own, "collector", 4318, "TCP") for own in ("gateway", *MODELS)),
    ("gateway", "postgresql", 5432, "TCP"),
    *((each, "postgresql", 5432, "TCP") for each in ("migration", "backup")),
    *(("backup", store, 443, "TCP") for store in ("s3", "backups")),
    ("gateway", "s3", 443, "TCP"),
    ("animation", "bundles", 443, "TCP"),
    *((each, "api-server", port, "TCP") for each in ("gateway", "own-replicas") for port in (443, 6443)),
    ("gateway", "webhook", 443, "TCP"),
]
DENIED: list[Line] = [
    *((each, own, 8000, "TCP") for each in ("stranger", "gateway") for own in OWN if own not in ("gateway", *MODELS)),
    ("stranger", "gateway", 8000, "TCP"),
    *((each, model, port, "TCP") for each in ("client", "stranger") for model in MODELS for port in (3000, 9091)),
    *(("prometheus", model, 3000, "TCP") for model in MODELS),
    *(("gateway", model, 9091, "TCP") for model in MODELS),
    *((each, "gateway", 9092, "TCP") for each in ("client", "stranger", "prometheus", "keda")),
    *((model, "gateway", 8000, "TCP") for model in MODELS),
    *((model, other, 3000, "TCP") for model in MODELS for other in MODELS if model != other),
    *((model, place, 443, "TCP") for model in MODELS for place in ("s3", "api-server", "webhook", "internet")),
    *((model, "postgresql", 5432, "TCP") for model in MODELS),
    *(("migration", place, 443, "TCP") for place in ("s3", "api-server", "internet")),
    *((each, "gateway", 8000, "TCP") for each in (*HOOKS, "backup", "pre-pull")),
    *(("test", other, port, "TCP") for other, port in (("gateway", 9090), ("gateway", 9092), ("safety", 3000))),
    *((each, "postgresql", 5432, "TCP") for each in ("own-replicas", "test", "pre-pull")),
    *((each, "internet", 443, "TCP") for each in ("own-replicas", "test", "pre-pull")),
    *((each, "api-server", 443, "TCP") for each in ("test", "pre-pull")),
    *(("pre-pull", "dns", 53, protocol) for protocol in ("UDP", "TCP")),
    *(("backup", place, 443, "TCP") for place in ("api-server", "webhook", "internet")),
    *((each, "backups", 443, "TCP") for each in OWN if each != "backup"),
    *((each, "bundles", 443, "TCP") for each in OWN if each != "animation"),
    ("animation", "bundles", 22, "TCP"),
    ("migration", "postgresql", 22, "TCP"),
    ("keda", "gateway", 8000, "TCP"),
    *((each, "gateway", 9090, "TCP") for each in ("client", "stranger", "prometheus")),
    ("gateway", "internet", 443, "TCP"),
    ("gateway", "postgresql", 22, "TCP"),
    ("gateway", "safety", 22, "TCP"),
    ("prometheus", "gateway", 22, "TCP"),
]
TABLE = [*ALLOWED, *DENIED]


@pytest.fixture(scope="module")
def policies() -> Policies:
    """Those of the example with many GPU nodes."""
    rendered = yaml.safe_load_all((RENDERED / "gpu-nodes.yaml").read_text(encoding="utf-8"))
    return [each for each in rendered if each and each["kind"] == "NetworkPolicy"]


def test_every_line_of_the_table_is_as_it_says(policies: Policies, tmp_path: Path) -> None:
    verdicts = allowed(policies, tmp_path)
    wrong = [line for line, verdict in zip(TABLE, verdicts, strict=True) if verdict != (line in ALLOWED)]
    assert wrong == []


def test_no_rule_can_go_without_changing_the_table(policies: Policies, tmp_path: Path) -> None:
    expected = allowed(policies, tmp_path)
    idle = [what for what, fewer in without_one(policies) if allowed(fewer, tmp_path) == expected]
    assert idle == []


def test_what_hooks_run_is_closed_before_the_release_is_there(policies: Policies, tmp_path: Path) -> None:
    early = [each for each in policies if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    verdicts = dict(zip(TABLE, allowed(early, tmp_path), strict=True))
    wrong = [line for line, verdict in verdicts.items() if {*line} & {*HOOKS} and verdict != (line in ALLOWED)]
    assert wrong == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_every_pod_of_a_release_is_in_the_table_and_closed(example: Path) -> None:
    rendered = objects((RENDERED / example.name).read_text(encoding="utf-8"))
    selectors = [each["spec"]["podSelector"]["matchLabels"].items() for each in closing(rendered)]
    pods = [each["metadata"]["labels"] for each in map(pod_made_by, rendered) if each]
    assert {labels["app.kubernetes.io/component"] for labels in pods} <= set(OWN)
    assert [labels for labels in pods if not any(selector <= labels.items() for selector in selectors)] == []


def closing(rendered: list[Any]) -> Policies:
    """Policies that leave nothing open in either direction but what they or others name."""
    policies = [each for each in rendered if each["kind"] == "NetworkPolicy"]
    return [each for each in policies if each["spec"]["policyTypes"] == ["Ingress", "Egress"]]


def pod_made_by(each: dict[str, Any]) -> dict[str, Any]:
    """The pod that an object is, or makes; nothing where it is none."""
    made: dict[str, Any] = each.get("spec", {}).get("jobTemplate", each).get("spec", {}).get("template", {})
    return each if each["kind"] == "Pod" else made


def allowed(policies: Policies, folder: Path) -> list[bool]:
    """For each line of the table whether the policies allow it."""
    (folder / "policies.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": policies}))
    (folder / "traffic.json").write_text(json.dumps([traffic(*line) for line in TABLE]))
    command = [str(program("cyclonus")), "analyze", "--mode", "query-traffic", "--verbosity", "error"]
    files = ["--policy-path", f"{folder}/policies.yaml", "--traffic-path", f"{folder}/traffic.json"]
    done = subprocess.run([*command, *files], check=True, capture_output=True, text=True)
    verdicts = re.findall(r"IS ALLOWED\? \|\s+(TRUE|FALSE)", done.stdout)
    assert len(verdicts) == len(TABLE), done.stdout + done.stderr
    return [verdict == "TRUE" for verdict in verdicts]


def traffic(source: str, destination: str, port: int, protocol: str) -> dict[str, Any]:
    """One connection, as cyclonus wants it told."""
    return {
        "Source": end(source, "10.89.1.2"),
        "Destination": end(destination, "10.89.2.2"),
        "Protocol": protocol,
        "ResolvedPort": port,
        "ResolvedPortName": "",
    }


def end(name: str, pod_address: str) -> dict[str, Any]:
    """One end of a connection: an address, and whose it is where it is a pod's."""
    if name in ADDRESSES:
        return {"IP": ADDRESSES[name]}
    if name in OWN:
        component = {
            "app.kubernetes.io/name": "bowerbird",
            "app.kubernetes.io/instance": "bowerbird",
            "app.kubernetes.io/component": name,
        }
        place: Place = (NAMESPACE, {}, component)
    else:
        place = PLACES[name]
    namespace, namespace_labels, labels = place
    pod = {"PodLabels": labels, "NamespaceLabels": namespace_labels, "Namespace": namespace}
    return {"Internal": pod, "IP": pod_address}


def without_one(policies: Policies) -> Iterator[tuple[str, Policies]]:
    """Every set of policies that has one peer, one port, one rule or one policy less, and what it lacks."""
    for number, policy in enumerate(policies):
        name = policy["metadata"]["name"]
        yield name, [each for each in policies if each is not policy]
        for way, peers in (("ingress", "from"), ("egress", "to")):
            for at, rule in enumerate(policy["spec"].get(way, ())):
                fewer = copy.deepcopy(policies)
                del fewer[number]["spec"][way][at]
                yield f"{name}: {way} rule {at}", fewer
                for part in (peers, "ports"):
                    for which in range(len(rule.get(part, ()))) if len(rule.get(part, ())) > 1 else ():
                        fewer = copy.deepcopy(policies)
                        del fewer[number]["spec"][way][at][part][which]
                        yield f"{name}: {way} rule {at}, {part} {which}", fewer
