"""What a command finds where it is typed: the settings of the environment, and the gateway that runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bowerbird.settings import Settings


def read_settings() -> Settings:
    """The settings; one sentence for each variable that cannot be read, and the end of the command."""
    from pydantic import ValidationError

    from bowerbird.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        for fact in error.errors(include_url=False):
            typer.echo(f"BOWERBIRD_{'_'.join(map(str, fact['loc'])).upper()}: {fact['msg']}.", err=True)
        raise typer.Exit(2) from error


def gateway_url() -> str:
    """The gateway that runs in BOWERBIRD_HOME, or the default address."""
    from bowerbird.client.connection import DEFAULT_URL
    from bowerbird.embedded.running import running_gateway

    return running_gateway(read_settings()) or DEFAULT_URL
