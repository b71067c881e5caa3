"""A release with several gateways: PostgreSQL and an object store on this machine, which the cluster is let in to."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_bytes
from urllib.parse import urlsplit

from ..postgresql import RunningPostgreSQL
from ..s3 import RunningS3
from .cluster import Cluster
from .outside import reachable
from .release import Release, created, loaded, release_of

GATEWAYS = 2


@contextmanager
def several_gateways(
    cluster: Cluster, namespace: str, postgresql: RunningPostgreSQL, s3: RunningS3, cooldown_seconds: int
) -> Iterator[Release]:
    """One whose models sleep, ready; its database has its namespace's name, and the nodes lead to its gateways."""
    loaded(cluster)
    postgresql.create(namespace)
    store = urlsplit(s3.environment["AWS_ENDPOINT_URL"]).port
    assert store is not None
    with reachable(postgresql.port, store) as address:
        made = release_of(cluster, namespace, *_options(postgresql.port, store, cooldown_seconds))
        created(made)
        url = postgresql.url(namespace).replace("127.0.0.1", address)
        secret(made, "database", url=url)
        secret(made, "webhooks", keys=json.dumps([b64encode(token_bytes(32)).decode()]))
        secret(made, "store", **{**s3.environment, "AWS_ENDPOINT_URL": f"http://{address}:{store}"})
        made.upgrade()
        yield made
        cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def secret(release: Release, name: str, **values: str) -> None:
    """A Secret of the namespace."""
    literals = [f"--from-literal={key}={value}" for key, value in values.items()]
    release.kubectl("create", "secret", "generic", name, *literals)


def _options(database_port: int, store_port: int, cooldown_seconds: int) -> list[str]:
    values = {
        "database.existingSecret": "database",
        "database.port": database_port,
        "webhooks.existingSecret": "webhooks",
        "pictures.existingSecret": "store",
        "pictures.url": "s3://pictures/cluster",
        "pictures.port": store_port,
        "services.gateway.replicas": GATEWAYS,
        "services.gateway.scaling.kind": "fixed",
        "services.gateway.serviceType": "NodePort",
        "defaults.scaling.kind": "keda",
        "defaults.scaling.cooldownSeconds": cooldown_seconds,
    }
    return [option for name, value in values.items() for option in ("--set", f"{name}={value}")]
