"""The endpoints of every stage, kept up to date; tells `stages` which of them may be given new work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from bowerbird.gateway.background import in_background
from bowerbird.gateway.discovery.api_server import ApiServer, Json
from bowerbird.gateway.discovery.endpoint_slices import SERVICE_LABEL, Found, endpoints_of
from bowerbird.gateway.discovery.reflecting import Reflection
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage

PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
FIRST_LIST_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Discovery:
    """Services by stage: `http://text-to-image:3000` is the Service `text-to-image` of the gateway's namespace."""

    def __init__(self, server: ApiServer, services: Mapping[Stage, str], stages: Stages, scheme: str = "http") -> None:
        self.server = server
        self.services = services
        """Stage -> its Service's name, which is its Deployment's too."""
        self.found: dict[Stage, Found] = {stage: Found() for stage in services}
        self._stages = stages
        self._scheme = scheme
        self._listed = asyncio.Event()
        selector = f"{SERVICE_LABEL} in ({','.join(sorted(set(services.values())))})"
        self._reflection = Reflection(server, PATH, selector, self._told)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows the slices until the context ends; begins when they were listed, or after FIRST_LIST_SECONDS."""
        async with in_background(self._reflection.run()):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LIST_SECONDS):
                    await self._listed.wait()
            yield

    def _told(self, slices: Mapping[str, Json]) -> None:
        for stage, service in self.services.items():
            found = endpoints_of(slices.values(), service, self._scheme)
            if found != self.found[stage] or not self._listed.is_set():
                self.found[stage] = found
                self._stages.found(stage, found.ready)
                logger.info(
                    "endpoints of %s",
                    stage,
                    extra={
                        "stage": stage,
                        "ready": len(found.ready),
                        "starting": len(found.starting),
                        "terminating": len(found.terminating),
                    },
                )
        self._listed.set()


def services_of(urls: Mapping[Stage, tuple[str, ...]]) -> dict[Stage, str]:
    """The Service behind each stage's URL: the first label of its host's name. A host that is an address is none: a
    release without that stage leaves it at what the settings have by themselves."""
    hosts = {stage: urlsplit(url).hostname or "" for stage, (url, *_) in urls.items()}
    return {stage: host.partition(".")[0] for stage, host in hosts.items() if not _is_address(host)}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
