"""Who may do what to the API server, and whom the gateway knows by the API server's word."""

from __future__ import annotations

import json

import httpx2
import pytest

from .cluster import Cluster
from .release import PICTURE, Release, created, loaded, release_of

pytestmark = pytest.mark.timeout(900)

GATEWAY_IS_FIXED = "services.gateway.scaling.kind=fixed"
ACCOUNTS = ("gateway", "safety", "text-to-image", "curation")
MEANS_NOTHING = {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
"""What everybody with a token may ask: about themselves."""
REVIEWS = {"create authentication.k8s.io/tokenreviews", "create authorization.k8s.io/subjectaccessreviews"}
OF_MODELS = "curation,safety,text-to-image"
LOOKING = {"list,watch discovery.k8s.io/endpointslices", "list,patch pods"}
"""What the gateway may do where a service has several pods: find them, and say which of them are busy."""
COUNTING = {
    *LOOKING,
    "list events",
    f"get apps/deployments {OF_MODELS}",
    f"get,patch apps/deployments/scale {OF_MODELS}",
    f"get keda.sh/scaledobjects {OF_MODELS}",
}
"""What the gateway may do where services come and go."""


def rights(release: Release, account: str) -> set[str]:
    """What a ServiceAccount may do: verbs, resource, and the names that it is bound to, if any."""
    who = f"system:serviceaccount:{release.namespace}:{account}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": release.namespace},
    }
    answer = release.cluster.kubectl(
        "create",
        "--validate=false",  # it may not read what there is to validate by
        "-f",
        "-",
        "--as",
        who,
        "--as-group",
        "system:authenticated",
        "-o",
        "json",
        manifest=json.dumps(review),
    )
    rules = json.loads(answer)["status"]["resourceRules"]
    return {
        f"{','.join(sorted(rule['verbs']))} {group}{'/' if group else ''}{resource} {','.join(names(rule))}".strip()
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if resource not in MEANS_NOTHING
    }


def names(rule: dict[str, list[str]]) -> list[str]:
    """The only objects that a rule is about; none: all of them."""
    return sorted(rule.get("resourceNames", ()))


def test_no_service_account_may_do_anything(bowerbird: Release) -> None:
    assert {account: rights(bowerbird, account) for account in ACCOUNTS} == {account: set() for account in ACCOUNTS}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("counted", ("--set", "defaults.scaling.kind=keda", "--set", GATEWAY_IS_FIXED), COUNTING),
        ("doubled", ("--set", "services.safety.replicas=2"), LOOKING),
    ],
)
def test_where_pods_come_and_go_the_gateway_may_look_and_count_and_nothing_else(
    cluster: Cluster, name: str, options: tuple[str, ...], expected: set[str]
) -> None:
    loaded(cluster)
    release = release_of(cluster, name, *options)
    created(release)
    try:
        release.upgrade(wait=False)
        assert {account: rights(release, account) for account in ACCOUNTS} == {
            **{account: set() for account in ACCOUNTS},
            "gateway": expected,
        }
    finally:
        cluster.kubectl("delete", "namespace", release.namespace, "--wait=false")


def test_no_pod_has_a_token(bowerbird: Release) -> None:
    for name in bowerbird.pods():
        listed = json.loads(bowerbird.kubectl("get", "pod", name, "--output", "json"))
        assert not any(volume["name"].startswith("kube-api-access") for volume in listed["spec"]["volumes"])


def test_a_pods_token_is_a_key_where_its_service_account_stands_for_a_tenant(bowerbird: Release) -> None:
    bowerbird.kubectl("create", "serviceaccount", "painter")
    whom = json.dumps({f"{bowerbird.namespace}:painter": {"tenant": "birds"}})
    bowerbird.upgrade("--set-json", f"serviceAccountTokens.tenants={whom}")
    try:
        assert rights(bowerbird, "gateway") == REVIEWS
        with bowerbird.reached() as client:
            made = client.post("/v1/admin/tenants", json={"id": "birds"})
            assert made.status_code == httpx2.codes.OK, made.text
            assert asked(client, token(bowerbird, audience="bowerbird")) == httpx2.codes.OK
            assert asked(client, token(bowerbird, audience="elsewhere")) == httpx2.codes.UNAUTHORIZED
    finally:
        bowerbird.rollback()
    assert rights(bowerbird, "gateway") == set()


def token(release: Release, audience: str) -> str:
    """One that the API server made for the painter, bound to an audience."""
    return release.kubectl("create", "token", "painter", "--audience", audience).strip()


def asked(client: httpx2.Client, key: str) -> int:
    """The status of the answer to whoever has this key."""
    answer = client.post("/v1/images/generations", json=PICTURE, headers={"Authorization": f"Bearer {key}"})
    return int(answer.status_code)
