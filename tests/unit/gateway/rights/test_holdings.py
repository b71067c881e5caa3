"""No table is forgotten: each is somebody's, and has a holding, or says nothing about anybody."""

from __future__ import annotations

from typing import cast

from bowerbird.gateway.records.tables import metadata
from bowerbird.gateway.rights.holdings import files, rows, tenant
from bowerbird.gateway.rights.holdings.files import FileHolding
from bowerbird.gateway.rights.holdings.jobs import JobHolding
from bowerbird.gateway.rights.holdings.results import ResultHolding
from tests import databases

assert databases.__name__  # every table is in `metadata` now

OF_NOBODY = {
    "leases": "names of processes",
    "secrets": "random",
    "result_drawings": "keyed names, for seconds",
    "results_ledger": "one sum",
    "audit_log": "only grows; holds no prompt and no identifier",
    "erasures": "what was erased, by a keyed name; kept as proof",
    "usage_days": "sums; stay as bills do",
    "revisions": "of these tables",
    "demand": "counts of requests, for seconds",
    "stage_descriptions": "of models",
}
"""Tables that an erasure leaves alone -> why."""
CASCADES = {"webhook_subscriptions", "webhook_deliveries", "webhook_attempts"}
"""They go with their endpoint."""


def test_every_table_is_held_or_is_nobodys() -> None:
    nothing = cast("object", None)
    plain = [
        each
        for part in (rows.of_people, rows.of_tenants, files.of_tenants, tenant.of_tenants)
        for each in part(nothing)  # type: ignore[arg-type]
    ]
    held = {table for each in plain for table in each.tables}
    for kind in (JobHolding, ResultHolding, FileHolding, tenant.UsageHolding, tenant.TenantHolding):
        held |= set(kind.tables)
    assert held | set(OF_NOBODY) | CASCADES == set(metadata.tables)
    assert not held & set(OF_NOBODY)


def test_what_names_a_tenant_or_a_person_is_held() -> None:
    for table in metadata.tables.values():
        if {"tenant", "person", "flow"} & set(table.c.keys()):
            assert table.name not in set(OF_NOBODY) - {"erasures", "usage_days"}
