"""Slices of one Service are one set of endpoints, whatever way they are cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.discovery.endpoint_slices import Found, endpoints_of

from .cluster import DRAINING, STARTING, endpoint


def cut(*endpoints: dict[str, Any], service: str = "draws", ports: Any = None, kind: str = "IPv4") -> dict[str, Any]:
    return {
        "metadata": {"name": "any", "labels": {"kubernetes.io/service-name": service}},
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "port": 3000}] if ports is None else ports,
    }


def test_conditions_say_who_is_given_new_work() -> None:
    found = endpoints_of(
        [
            cut(
                endpoint("10.0.0.1", "a", ready=True),
                endpoint("10.0.0.2", "b", **STARTING),
                endpoint("10.0.0.3", "c", **DRAINING),
            )
        ],
        "draws",
    )
    assert found == Found(
        ready=frozenset({"http://10.0.0.1:3000"}),
        starting=frozenset({"http://10.0.0.2:3000"}),
        terminating=frozenset({"http://10.0.0.3:3000"}),
        pods={"http://10.0.0.1:3000": "a", "http://10.0.0.2:3000": "b", "http://10.0.0.3:3000": "c"},
    )


def test_what_is_absent_means_what_the_api_says() -> None:
    bare: dict[str, Any] = {"addresses": ["10.0.0.1"]}
    assert endpoints_of([cut(bare)], "draws").ready == {"http://10.0.0.1:3000"}
    assert endpoints_of([{**cut(), "endpoints": None}], "draws") == Found()
    assert endpoints_of([{**cut(bare), "ports": None}], "draws") == Found()


def test_only_this_service_and_addresses_that_can_be_asked_count() -> None:
    slices = [cut(endpoint("10.0.0.1"), service="other"), cut(endpoint("a.example"), kind="FQDN")]
    assert endpoints_of(slices, "draws") == Found()
    assert endpoints_of([cut(endpoint("fd00::1"), kind="IPv6")], "draws").ready == {"http://[fd00::1]:3000"}


def test_the_port_is_the_one_called_http_or_the_only_one() -> None:
    two = [{"name": "metrics", "port": 9090}, {"name": "http", "port": 8080}]
    assert endpoints_of([cut(endpoint("10.0.0.1"), ports=two)], "draws").ready == {"http://10.0.0.1:8080"}
    one, neither = [{"name": "", "port": 5000}], [{"name": "metrics", "port": 9090}, {"name": "admin", "port": 9091}]
    assert endpoints_of([cut(endpoint("10.0.0.1"), ports=one)], "draws").ready == {"http://10.0.0.1:5000"}
    assert endpoints_of([cut(endpoint("10.0.0.1"), ports=neither)], "draws") == Found()


ENDPOINTS = st.lists(
    st.builds(
        lambda number, conditions: endpoint(f"10.0.0.{number}", f"pod-{number}", **conditions),
        st.integers(1, 9),
        st.sampled_from([{"ready": True}, {}, DRAINING, STARTING]),
    ),
    max_size=12,
    unique_by=lambda each: each["addresses"][0],
)


@given(ENDPOINTS, st.lists(st.integers(0, 3), min_size=12, max_size=12), ENDPOINTS)
def test_how_they_are_cut_into_slices_changes_nothing(
    endpoints: list[dict[str, Any]], places: list[int], others: list[dict[str, Any]]
) -> None:
    slices = [cut(*(each for each, at in zip(endpoints, places, strict=False) if at == place)) for place in range(4)]
    whole = endpoints_of([cut(*endpoints)], "draws")
    assert endpoints_of([*slices, cut(*others, service="other")], "draws") == whole
    assert len(whole.ready) + len(whole.starting) + len(whole.terminating) == len(endpoints)


def test_one_that_moves_between_slices_is_one_and_terminating_if_either_says_so() -> None:
    both = [cut(endpoint("10.0.0.1", ready=True)), cut(endpoint("10.0.0.1", "", **DRAINING))]
    found = endpoints_of(both, "draws")
    assert (found.ready, found.terminating) == (frozenset[str](), frozenset({"http://10.0.0.1:3000"}))
