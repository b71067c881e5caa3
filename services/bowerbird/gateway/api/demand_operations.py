"""The part of the route table about how many pods are wanted."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import demand
from bowerbird.gateway.api.operation import WITH_BODY, WITH_RECORDS, Operation
from bowerbird.gateway.identity.scopes import Scope

DEMAND_OPERATIONS = (
    Operation(
        "GET",
        "/v1/admin/demand",
        demand.list_demand,
        "See who wants pods of which service",
        demand.DemandList,
        facts=WITH_RECORDS,
        scope=Scope.DEMAND_READ,
    ),
    Operation(
        "POST",
        "/v1/admin/demand",
        demand.ask_for_pods,
        "Ask for pods of a service for a while, whatever the work",
        demand.ServiceDemand,
        facts=(*WITH_BODY, *WITH_RECORDS, errors.FeatureUnavailable),
        body=demand.Prewarm,
        example={"service": "text-to-image", "pods": 1, "seconds": 3600},
        scope=Scope.DEMAND_WRITE,
    ),
)
