"""Discovery while the app runs, where the settings name a namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bowerbird.gateway.discovery.api_server import open_api_server
from bowerbird.gateway.discovery.discovery import Discovery, services_of
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage
from bowerbird.settings import Settings
from bowerbird.tls import files_of


@asynccontextmanager
async def discovering(
    settings: Settings, stages: Stages, urls: Mapping[Stage, tuple[str, ...]]
) -> AsyncIterator[Discovery | None]:
    """Follows the endpoints of every stage until the context ends; None where the settings' URLs are all there is.

    Raises SystemExit where stages are to sleep and nobody could see them wake.
    """
    if settings.kubernetes_namespace is None:
        if settings.stages_asleep:
            raise SystemExit("BOWERBIRD_STAGES_ASLEEP needs BOWERBIRD_KUBERNETES_NAMESPACE, to find what wakes.")
        yield None
        return
    async with open_api_server(settings, settings.kubernetes_namespace) as server:
        scheme = "https" if files_of(settings) else "http"
        discovery = Discovery(server, services_of(urls), stages, scheme)
        async with discovery.running():
            yield discovery
