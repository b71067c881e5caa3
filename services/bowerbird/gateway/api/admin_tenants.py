"""`/v1/admin/tenants`, `/v1/admin/tiers`: who is served, on which terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.api.paging import limit_of, path_id, text_of
from bowerbird.gateway.api.usage import usage_response
from bowerbird.gateway.identity.audit import Author
from bowerbird.gateway.identity.tenants import NewTenant, Tenant
from bowerbird.gateway.identity.tiers import Tiers
from bowerbird.gateway.results.lookup import Cache

RESERVED = "key-"
"""Tenants of keys in the settings are named so."""

TenantId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
TierName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="One of /v1/admin/tiers.")]
Weight = Annotated[
    float, Field(ge=0.01, le=100, allow_inf_nan=False, description="Share of the model, beside others' shares.")
]

_CACHE = "What a request of the tenant means that does not say `cache`; see there."


class CreateTenant(RequestBody):
    """A new tenant."""

    id: TenantId = Field(description="Stands in usage, jobs and logs; never changes, and is never given away again.")
    name: Name | None = Field(default=None, description="For people; the id when absent.")
    tier: TierName = "standard"
    weight: Weight = 1.0
    cache: Cache = Field(default=Cache.AUTO, description=_CACHE)

    ACCEPTED: ClassVar[dict[str, str]] = {"id": "Accepted: 1 to 63 of a-z, 0-9 and -, not - first"}


class ChangeTenant(RequestBody):
    """What is to be different; what is absent stays as it is."""

    name: Name | None = None
    tier: TierName | None = None
    weight: Weight | None = None
    cache: Cache | None = Field(default=None, description=_CACHE)
    disabled: bool | None = Field(
        default=None, description="Its keys are refused within seconds, at every gateway; false lets them in again."
    )


class TenantBody(ResponseBody):
    """A tenant."""

    object: Literal["tenant"] = "tenant"
    id: str
    name: str
    tier: str
    weight: float
    cache: Cache
    created_at: int = Field(description="Unix seconds.")
    disabled_at: int | None = Field(description="Unix seconds; null while its keys are accepted.")


class TenantList(ResponseBody):
    """Tenants by id."""

    object: Literal["list"] = "list"
    data: list[TenantBody]
    has_more: bool


class TierBody(ResponseBody):
    """What a tenant of this tier may take; null is without limit."""

    object: Literal["tier"] = "tier"
    name: str
    requests_per_second: int | None
    requests_per_minute: int | None
    requests_per_hour: int | None
    requests_per_day: int | None
    compute_units_per_minute: float | None
    concurrent_requests: int | None
    queue_part: float | None = Field(description="Share of the waiting room that one tenant may fill.")
    picture_pixels: int | None = Field(description="Largest size of a picture.")


class TierList(ResponseBody):
    """All tiers of this deployment."""

    object: Literal["list"] = "list"
    data: list[TierBody]


async def create_tenant(request: Request) -> Response:
    """A new tenant, without keys."""
    administration = gateway_of(request).administration
    asked = await read_json(request, CreateTenant)
    if asked.id.startswith(RESERVED) or asked.id == "local":
        raise RequestInvalid(f"id: {asked.id!r} is the gateway's own. Accepted: another id.", param="id")
    _require_tier(asked.tier, administration.tiers)
    new = NewTenant(asked.id, asked.name or asked.id, asked.tier, asked.weight, asked.cache)
    made = await administration.tenants.create(new, author_of(request))
    administration.known.forget()
    return _answer(tenant_body(made))


async def list_tenants(request: Request) -> Response:
    """A page of tenants."""
    limit, after = limit_of(request), text_of(request, "after") or ""
    found = await gateway_of(request).administration.tenants.page(after, limit + 1)
    data = [tenant_body(each) for each in found[:limit]]
    return _answer(TenantList(data=data, has_more=len(found) > limit))


async def get_tenant(request: Request) -> Response:
    """One tenant."""
    return _answer(tenant_body(await gateway_of(request).administration.tenants.get(path_id(request, "tenant"))))


async def change_tenant(request: Request) -> Response:
    """A tenant on other terms; they hold at every gateway within seconds."""
    administration = gateway_of(request).administration
    asked = await read_json(request, ChangeTenant)
    changes: dict[str, Any] = asked.model_dump(exclude_none=True)
    if "tier" in changes:
        _require_tier(changes["tier"], administration.tiers)
    changed = await administration.tenants.change(path_id(request, "tenant"), changes, author_of(request))
    administration.known.forget()
    return _answer(tenant_body(changed))


async def get_tenant_usage(request: Request) -> Response:
    """What was drawn for one tenant; one of the settings' keys too, so that it need not have a row."""
    return await usage_response(request, path_id(request, "tenant"))


async def list_tiers(request: Request) -> Response:
    """The tiers, by name."""
    tiers = gateway_of(request).administration.tiers
    return _answer(TierList(data=[TierBody(**tiers[name].model_dump()) for name in sorted(tiers)]))


def author_of(request: Request) -> Author:
    """Whose change it is, for the audit log."""
    return Author(request.state.principal.actor, request.state.request_id)


def tenant_body(tenant: Tenant) -> TenantBody:
    """A tenant as it is answered."""
    return TenantBody(
        id=tenant.id,
        name=tenant.name,
        tier=tenant.tier,
        weight=tenant.weight,
        cache=tenant.cache,
        created_at=tenant.created_ms // 1000,
        disabled_at=None if tenant.disabled_ms is None else tenant.disabled_ms // 1000,
    )


def _require_tier(name: str, tiers: Tiers) -> None:
    if name not in tiers:
        accepted: Sequence[str] = sorted(tiers)
        raise RequestInvalid(
            f"tier: {name!r} is not configured here. Accepted: {', '.join(map(repr, accepted))}.", param="tier"
        )


def _answer(body: ResponseBody) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
