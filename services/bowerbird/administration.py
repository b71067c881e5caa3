"""`bowerbird tenants`, `keys`, `demand`, `usage` and `audit`: what administrators type. `cli` mounts these commands.

They speak to a running gateway (`--url`, or the one in BOWERBIRD_HOME) with an administrator's key (`--key`, better
BOWERBIRD_KEY: an argument stands in the shell's history). Exit codes are those of `bowerbird draw`: 0 done, 2 wrong
usage, 3 refused, 4 not reachable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bowerbird.environment import gateway_url

if TYPE_CHECKING:
    from bowerbird.client.administration import Answer
    from bowerbird.client.calls import Call
    from bowerbird.client.sync_client import Client

tenants = typer.Typer(help="Tenants: who is served, on which terms.", no_args_is_help=True)
keys = typer.Typer(help="Keys of tenants: issue, rotate, revoke.", no_args_is_help=True)
demand = typer.Typer(help="Pods that are wanted of each service; more of them for a while.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option(envvar="BOWERBIRD_URL", help="Default: BOWERBIRD_HOME's gateway.")]
Key = Annotated[
    str | None, typer.Option(envvar="BOWERBIRD_KEY", help="An administrator's key; none is needed on loopback.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tier = Annotated[str | None, typer.Option(help="What it may take: free, standard, premium, unlimited, or your own.")]
Weight = Annotated[float | None, typer.Option(help="Share of the model, beside others' shares.")]
Cache = Annotated[str | None, typer.Option(help="Stored pictures, where a request does not say: auto, any or fresh.")]
Name = Annotated[str | None, typer.Option(help="For people.")]
Lifetime = Annotated[str | None, typer.Option(help="How long it works: 90d, 12h, 30m; else until it is revoked.")]

TENANT_COLUMNS = ("id", "name", "tier", "weight", "cache", "disabled_at")
KEY_COLUMNS = ("id", "tenant", "name", "prefix", "role", "expires_at", "revoked_at", "last_used_at")
USAGE_COLUMNS = ("day", "variant", "requests", "pictures", "pixels", "compute_units", "model_digest")
DEMAND_COLUMNS = ("service", "source", "queued", "running", "draining", "pods", "expires_at")
AUDIT_COLUMNS = ("number", "at_ms", "actor", "action", "subject", "request_id")
TIMEOUT_SECONDS = 30.0

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@tenants.command("create")
def create_tenant(  # noqa: PLR0913, PLR0917 - the options of a command
    tenant_id: Annotated[str, typer.Argument(metavar="ID", help="a-z, 0-9 and -; never changes.")],
    name: Name = None,
    tier: Tier = None,
    weight: Weight = None,
    cache: Cache = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant; it has no key yet."""
    from bowerbird.client import administration

    terms = _stated(name=name, tier=tier, weight=weight, cache=cache)
    with gateway_client(url, key) as client:
        _show([client.send(administration.create_tenant(tenant_id, terms))], TENANT_COLUMNS, as_json=as_json)


@tenants.command("change")
def change_tenant(  # noqa: PLR0913, PLR0917 - the options of a command
    tenant_id: Annotated[str, typer.Argument(metavar="ID")],
    name: Name = None,
    tier: Tier = None,
    weight: Weight = None,
    cache: Cache = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Put a tenant on other terms; they hold within seconds."""
    _change(tenant_id, _stated(name=name, tier=tier, weight=weight, cache=cache), url, key, as_json=as_json)


@tenants.command("disable")
def disable_tenant(
    tenant_id: Annotated[str, typer.Argument(metavar="ID")], url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Refuse all keys of a tenant, within seconds; its rows and pictures stay."""
    _change(tenant_id, {"disabled": True}, url, key, as_json=as_json)


@tenants.command("enable")
def enable_tenant(
    tenant_id: Annotated[str, typer.Argument(metavar="ID")], url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Accept the keys of a disabled tenant again."""
    _change(tenant_id, {"disabled": False}, url, key, as_json=as_json)


@tenants.command("list")
def list_tenants(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List all tenants."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        _show(_all(client, administration.tenants, "id"), TENANT_COLUMNS, as_json=as_json)


@keys.command("create")
def create_key(  # noqa: PLR0913, PLR0917 - the options of a command
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT")],
    name: Name = None,
    role: Annotated[str | None, typer.Option(help="tenant, reviewer, operator or admin.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Only this of what the role may; may be repeated.")] = None,
    expires: Lifetime = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key and show it, this once."""
    from bowerbird.client import administration

    terms = _stated(name=name, role=role, scopes=scope or None, expires_in_seconds=_seconds(expires))
    with gateway_client(url, key) as client:
        _show_key(client.send(administration.create_key(tenant_id, terms)), as_json=as_json)


@keys.command("rotate")
def rotate_key(  # noqa: PLR0913, PLR0917 - the options of a command
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, not the key.")],
    overlap: Annotated[str, typer.Option(help="How long the old key works beside the new one.")] = "24h",
    expires: Lifetime = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key in place of another, which goes on for a while; show it, this once."""
    from bowerbird.client import administration

    terms = _stated(overlap_seconds=_seconds(overlap), expires_in_seconds=_seconds(expires))
    with gateway_client(url, key) as client:
        _show_key(client.send(administration.rotate_key(key_id, terms)), as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, not the key.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a key from now on, at every gateway within seconds."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        _show([client.send(administration.revoke_key(key_id))], KEY_COLUMNS, as_json=as_json)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List keys; of each the first characters are shown."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        found = _all(client, lambda after: administration.keys(tenant, after), "id")
        _show(found, KEY_COLUMNS, as_json=as_json)


@demand.command("list")
def list_demand(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List who wants pods of which service."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        _show(client.send(administration.demand())["data"], DEMAND_COLUMNS, as_json=as_json)


@demand.command("prewarm")
def prewarm(  # noqa: PLR0913, PLR0917 - the options of a command
    service: Annotated[str, typer.Argument(help="Its name in the chart: text-to-image, say.")],
    pods: Annotated[int, typer.Option(help="Pods, whatever the work; 0 takes back what was asked for.")] = 1,
    lasting: Annotated[str, typer.Option("--for", help="How long they are wanted: 90m, 12h, 7d.")] = "1h",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Have pods made that nobody needs yet."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        row = client.send(administration.prewarm(service, pods, _seconds(lasting) or 0))
    _show([row], DEMAND_COLUMNS, as_json=as_json)


def usage(  # noqa: PLR0913, PLR0917 - the options of a command
    tenant: Annotated[str | None, typer.Option(help="Needs an administrator's key; else the key's own tenant.")] = None,
    first_day: Annotated[str | None, typer.Option(help="YYYY-MM-DD, UTC; 30 days ago if absent.")] = None,
    last_day: Annotated[str | None, typer.Option(help="YYYY-MM-DD, UTC; today if absent.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, as the API answers it.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what was drawn, by day, model and variant."""
    from bowerbird.client import administration

    days = {"first_day": first_day, "last_day": last_day}
    with gateway_client(url, key) as client:
        if as_csv:
            typer.echo(client.send(administration.usage_table(tenant, days)), nl=False)
        else:
            _show(client.send(administration.usage(tenant, days))["data"], USAGE_COLUMNS, as_json=as_json)


def audit(
    verify: Annotated[bool, typer.Option(help="Check the chain of all entries instead of showing them.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, or check that nothing of it was altered since."""
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        entries = _all(client, lambda after: administration.audit(int(after or 0)), "number")
        if not verify:
            _show(entries, AUDIT_COLUMNS, as_json=as_json)
            return
        broken = _first_break(entries)
    if broken is not None:
        typer.echo(f"Entry {broken} is not what was written, or one before it is missing.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{len(entries)} entries, unbroken; the last has hash {entries[-1]['hash'] if entries else 'none'}.")


def _change(tenant_id: str, changes: Mapping[str, Any], url: str | None, key: str | None, *, as_json: bool) -> None:
    from bowerbird.client import administration

    with gateway_client(url, key) as client:
        _show([client.send(administration.change_tenant(tenant_id, changes))], TENANT_COLUMNS, as_json=as_json)


@contextmanager
def gateway_client(url: str | None, key: str | None, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Client]:
    """A client whose errors end the command with a sentence and an exit code."""
    from bowerbird.client import Client
    from bowerbird.client.to_files import exit_code
    from bowerbird.errors import BowerbirdError

    try:
        with Client(url or gateway_url(), key, timeout_seconds=timeout_seconds) as client:
            yield client
    except BowerbirdError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(exit_code(error)) from error


def _all(client: Client, page: Callable[[Any], Call[Answer]], last: str) -> list[dict[str, Any]]:
    """Every row of a list, page by page; `last` is the field that the next page begins after."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = client.send(page(rows[-1][last] if rows else None))
        rows += answer["data"]
        if not answer["has_more"]:
            return rows


def _first_break(rows: Iterable[Mapping[str, Any]]) -> int | None:
    from bowerbird.gateway.identity.audit_chain import Entry, first_break, state_json

    entries = []
    for row in rows:
        facts = {name: value for name, value in row.items() if name != "object"}
        hashes = {name: bytes.fromhex(facts[name]) for name in ("previous_hash", "hash")}
        states = {name: state_json(facts[name]) for name in ("before", "after")}
        entries.append(Entry(**{**facts, **hashes, **states}))
    return first_break(entries)


def _show_key(issued: Answer, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(issued))
        return
    typer.echo(issued["key"])
    typer.echo(f"This is the only time that key {issued['id']} is shown; keep it now.", err=True)


def _show(rows: Sequence[Answer], columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in columns))
    Console().print(table)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and name.endswith(("_at", "_ms")):
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value / (1000 if name.endswith("_ms") else 1), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _stated(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(stated: str | None) -> int | None:
    if stated is None:
        return None
    parts = _DURATION.fullmatch(stated)
    if parts is None:
        raise typer.BadParameter(f"{stated!r} is no duration; write 90d, 12h, 30m or 60s.")
    return int(parts[1]) * _SECONDS[parts[2]]
