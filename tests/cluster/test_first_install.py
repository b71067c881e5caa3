"""A first installation that stops at the Job that it begins with: nothing is there yet, and the doctor says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..postgresql import RunningPostgreSQL
from .cluster import Cluster, CommandFailed
from .outside import reachable
from .release import Release, created, loaded, release_of
from .several import secret

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(600)]

NAMESPACE = "stopped"
DATABASE = ["database.existingSecret=database", "webhooks.existingSecret=webhooks", "pictures.url=s3://pictures/none"]
NOBODY = "postgresql://nobody:never-to-be-seen@127.0.0.1:1/none"
ATTEMPT_SECONDS = 50
"""More than a migration waits for its database."""


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """One that was not installed yet, and whose database is told by a Secret that nobody made."""
    loaded(cluster)
    made = release_of(cluster, NAMESPACE, *(word for each in DATABASE for word in ("--set", each)))
    created(made)
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_a_first_installation_that_stops_says_why_and_goes_on_when_that_is_mended(
    release: Release, postgresql: RunningPostgreSQL, diagnosis: Callable[[Release], str]
) -> None:
    stopped(release, seconds=10)
    assert "database is not there." in diagnosis(release)
    secret(release, "database", url=NOBODY)
    stopped(release, seconds=ATTEMPT_SECONDS)
    said = diagnosis(release)
    assert "before this Job has done its work: The database was not migrated: " in said
    assert "never-to-be-seen" not in said
    postgresql.create(NAMESPACE)
    with reachable(postgresql.port) as address:
        release.kubectl("delete", "secret", "database")
        secret(release, "database", url=postgresql.url(NAMESPACE).replace("127.0.0.1", address))
        release.upgrade("--set", f"database.port={postgresql.port}", wait=False)
    assert "before this Job" not in diagnosis(release)
    assert "webhooks is not there." in diagnosis(release), "the gateway's turn"


def stopped(release: Release, seconds: int) -> None:
    """Returns when Helm, which has so much patience, has given up on it."""
    with pytest.raises(CommandFailed):
        release.upgrade("--timeout", f"{seconds}s", wait=False)
