"""The administrators' part of the route table."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import admin_audit, admin_keys, admin_tenants, usage
from bowerbird.gateway.api.operation import WITH_BODY, WITH_RECORDS, Operation
from bowerbird.gateway.api.paging import AFTER_SCHEMA, ID, LIMIT_SCHEMA, NUMBER
from bowerbird.gateway.identity.scopes import Scope

PAGE = {"limit": LIMIT_SCHEMA, "after": AFTER_SCHEMA}
LISTED = (*WITH_RECORDS, errors.RequestInvalid)
OF_A_TENANT = (*WITH_RECORDS, errors.TenantUnknown)
OF_A_KEY = (*WITH_RECORDS, errors.KeyUnknown)

ADMIN_OPERATIONS = (
    Operation(
        "POST",
        "/v1/admin/tenants",
        admin_tenants.create_tenant,
        "Make a tenant",
        admin_tenants.TenantBody,
        facts=(*WITH_BODY, *WITH_RECORDS, errors.TenantExists),
        body=admin_tenants.CreateTenant,
        example={"id": "birds", "name": "Bird application", "tier": "standard"},
        scope=Scope.TENANTS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/admin/tenants",
        admin_tenants.list_tenants,
        "List tenants",
        admin_tenants.TenantList,
        facts=LISTED,
        query=PAGE,
        scope=Scope.TENANTS_READ,
    ),
    Operation(
        "GET",
        "/v1/admin/tenants/{tenant}",
        admin_tenants.get_tenant,
        "See one tenant",
        admin_tenants.TenantBody,
        facts=OF_A_TENANT,
        scope=Scope.TENANTS_READ,
    ),
    Operation(
        "PATCH",
        "/v1/admin/tenants/{tenant}",
        admin_tenants.change_tenant,
        "Put a tenant on other terms, disable it, or enable it again",
        admin_tenants.TenantBody,
        facts=(*WITH_BODY, *OF_A_TENANT),
        body=admin_tenants.ChangeTenant,
        example={"tier": "premium"},
        scope=Scope.TENANTS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/admin/tenants/{tenant}/usage",
        admin_tenants.get_tenant_usage,
        "See what was drawn for one tenant",
        usage.UsageList,
        also_media_type=usage.CSV,
        facts=LISTED,
        query=usage.DAYS,
        scope=Scope.TENANTS_READ,
    ),
    Operation(
        "GET",
        "/v1/admin/tiers",
        admin_tenants.list_tiers,
        "List tiers and their limits",
        admin_tenants.TierList,
        scope=Scope.TENANTS_READ,
    ),
    Operation(
        "POST",
        "/v1/admin/keys",
        admin_keys.create_key,
        "Issue a key; its text is in this answer only",
        admin_keys.IssuedKeyBody,
        facts=(*WITH_BODY, *OF_A_TENANT),
        body=admin_keys.CreateKey,
        example={"tenant": "birds", "name": "web", "expires_in_seconds": 7_776_000},
        scope=Scope.KEYS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/admin/keys",
        admin_keys.list_keys,
        "List keys, without their text",
        admin_keys.KeyList,
        facts=LISTED,
        query={**PAGE, "tenant": {"type": "string", "pattern": ID, "description": "Only of this one."}},
        scope=Scope.KEYS_READ,
    ),
    Operation(
        "GET",
        "/v1/admin/keys/{key}",
        admin_keys.get_key,
        "See one key, without its text",
        admin_keys.KeyBody,
        facts=OF_A_KEY,
        scope=Scope.KEYS_READ,
    ),
    Operation(
        "POST",
        "/v1/admin/keys/{key}/rotate",
        admin_keys.rotate_key,
        "Issue a key in place of another, which works on for a while",
        admin_keys.IssuedKeyBody,
        facts=(*WITH_BODY, *OF_A_KEY, errors.KeyEnded),
        body=admin_keys.RotateKey,
        example={"overlap_seconds": 86_400},
        scope=Scope.KEYS_WRITE,
    ),
    Operation(
        "DELETE",
        "/v1/admin/keys/{key}",
        admin_keys.revoke_key,
        "Revoke a key, at every gateway within seconds",
        admin_keys.KeyBody,
        facts=OF_A_KEY,
        scope=Scope.KEYS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/admin/audit",
        admin_audit.list_audit,
        "See who changed what, oldest first",
        admin_audit.AuditList,
        facts=LISTED,
        query={
            "limit": LIMIT_SCHEMA,
            "after": {"type": "string", "pattern": NUMBER, "description": "`number` of the last entry before."},
        },
        scope=Scope.AUDIT_READ,
    ),
)
