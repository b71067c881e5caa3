"""`bowerbird people export|erase` and `bowerbird tenants export|erase`: a person's rights, and a tenant's, typed.

`cli` mounts them. A tenant's own key is enough for its own end users; with `--tenant`, and for a whole tenant, it takes
an administrator's. An identifier that is `-` is read from standard input: an argument stands in the shell's history.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.administration import AsJson, Key, Url, gateway_client, tenants

if TYPE_CHECKING:
    from bowerbird.client import Client
    from bowerbird.client.rights import Erasure

people = typer.Typer(help="End users: give them what is kept about them, or erase it.", no_args_is_help=True)

Identifier = Annotated[
    str, typer.Argument(metavar="IDENTIFIER", help="Their safety_identifier; - reads it from standard input.")
]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Whose end user, for an administrator; else your own.")]
TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File; named by the export when absent.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Wait = Annotated[bool, typer.Option(help="Until it is finished, mostly a minute.")]

LOOK_SECONDS = 1.0
FETCH_SECONDS = 3600.0
"""An archive may be large, and is given for an hour."""


@people.command("export")
def export_person(
    identifier: Identifier,
    output: Output = None,
    tenant: OfTenant = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write all that is kept about an end user into a tar file."""
    _export(_named(identifier), tenant, output, url, key)


@people.command("erase")
def erase_person(  # noqa: PLR0913, PLR0917 - the options of a command
    identifier: Identifier,
    tenant: OfTenant = None,
    yes: Yes = False,
    wait: Wait = True,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Erase all that is kept about an end user; their unfinished jobs are cancelled."""
    named = _named(identifier)
    _ask("Everything that is kept about this end user is erased.", yes=yes)
    with gateway_client(url, key) as client:
        _show(_erased(client, named, tenant, wait=wait), as_json=as_json)


@tenants.command("export")
def export_tenant(tenant_id: TenantId, output: Output = None, url: Url = None, key: Key = None) -> None:
    """Write all that is kept about a tenant into a tar file."""
    _export(None, tenant_id, output, url, key)


@tenants.command("erase")
def erase_tenant(  # noqa: PLR0913, PLR0917 - the options of a command
    tenant_id: TenantId,
    yes: Yes = False,
    wait: Wait = True,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Disable a tenant and erase all that is kept about it but the sums of its usage."""
    _ask(f"The tenant {tenant_id!r} is disabled, and everything that is kept about it is erased.", yes=yes)
    with gateway_client(url, key) as client:
        _show(_erased(client, None, tenant_id, wait=wait), as_json=as_json)


def _export(identifier: str | None, tenant: str | None, output: Path | None, url: str | None, key: str | None) -> None:
    from bowerbird.client import rights

    with gateway_client(url, key, FETCH_SECONDS) as client:
        exported = client.send(rights.export(identifier, tenant))
        file = output or Path(f"{exported.id}.tar")
        size = client.download(rights.fetch_archive(exported), file)
        client.send(rights.end_export(exported))
    typer.echo(f"{file}: {size} bytes")


def _erased(client: Client, identifier: str | None, tenant: str | None, *, wait: bool) -> Erasure:
    from bowerbird.client import rights

    erasure = client.send(rights.erase(identifier, tenant))
    while wait and erasure.status != rights.FINISHED:
        time.sleep(LOOK_SECONDS)
        erasure = client.send(rights.get_erasure(erasure.id, administers=tenant is not None))
    return erasure


def _named(identifier: str) -> str:
    named = sys.stdin.readline().rstrip("\r\n") if identifier == "-" else identifier
    if not named:
        raise typer.BadParameter("The identifier is empty.")
    return named


def _ask(fact: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(f"{fact} This cannot be undone. Go on?", abort=True, err=True)


def _show(erasure: Erasure, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(erasure.model_dump()))
        return
    gone = [f"{count} {kind.replace('_', ' ')}" for kind, count in erasure.erased.items()]
    typer.echo(f"{erasure.id}: {erasure.status}; {', '.join(gone) or 'nothing was kept'}")
    if erasure.rewritten is False:
        typer.echo("Deleted rows may stay in the database's files until it overwrites them.", err=True)
