"""Gateways that keep what they draw, on each kind of database, whose erasures do not settle for long."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.postgresql import RunningPostgreSQL
from tests.s3 import RunningS3

from ..conftest import GatewayIn
from ..identity.gateways import ADMIN, Administrator
from .traces import Someone

KEPT_BYTES = 10_000_000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one replica, or two that look often: nothing has to be waited for as long as elsewhere."""
    room = "bowerbird.gateway.rights"
    monkeypatch.setattr(f"{room}.erasing.STOP_SECONDS", 0.3)
    monkeypatch.setattr(f"{room}.erasing.SETTLE_SECONDS", 0.6)
    monkeypatch.setattr(f"{room}.carrying.LOOK_SECONDS", 0.1)


@dataclass
class Place:
    """Where gateways keep things, and start again."""

    gateway_in: GatewayIn
    home: Path
    settings: dict[str, object]
    postgresql: RunningPostgreSQL | None = None
    elsewhere: list[Path] = field(default_factory=list)
    opened: ExitStack = field(default_factory=ExitStack)
    started: int = 0

    def start(self) -> httpx2.Client:
        """One more gateway here; with SQLite the one before must have ended."""
        self.started += 1
        home = self.home if self.postgresql is None else self.home / f"gateway-{self.started}"
        return self.opened.enter_context(self.gateway_in(home, **self.settings))

    def stop(self) -> None:
        """Ends them."""
        self.opened.close()

    @property
    def folders(self) -> list[Path]:
        """Every folder in which something is kept. The log of PostgreSQL (`pg_wal`) is its own, and is left out."""
        if self.postgresql is None:
            return [self.home]
        self.postgresql.execute("CHECKPOINT")
        return [self.home, self.postgresql.data / "base", self.postgresql.data / "global", *self.elsewhere]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, gateway_in: GatewayIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place of each kind, with an administrator; `s3`, where a test names it, is PostgreSQL with an S3 server."""
    settings: dict[str, object] = {"admin_keys": frozenset({ADMIN}), "result_bytes": KEPT_BYTES}
    home = tmp_path / "home"
    if request.param == "sqlite":
        found = Place(gateway_in, home, settings)
        yield found
        found.stop()
        return
    server: RunningPostgreSQL = request.getfixturevalue("postgresql")
    name = f"t{secrets.token_hex(6)}"
    url = server.create(name, request.getfixturevalue("newest_template"))
    found = Place(gateway_in, home, {**settings, "database_url": url}, server)
    if request.param == "s3":
        store: RunningS3 = request.getfixturevalue("s3")
        for variable, value in store.environment.items():
            monkeypatch.setenv(variable, value)
        found.settings["pictures_url"] = f"{store.bucket_url}/{name}"
        found.elsewhere.append(store.files)
    else:
        (home / "pictures").mkdir(parents=True)
        found.settings["pictures_url"] = f"file://{home / 'pictures'}"
    yield found
    found.stop()
    server.drop(name)


@dataclass
class Office:
    """A running gateway with two tenants and three people."""

    place: Place
    client: httpx2.Client
    admin: Administrator
    them: Someone
    """Who leaves."""
    colleague: Someone
    """Of the same tenant."""
    namesake: Someone
    """Of another tenant, by the same identifier."""


@pytest.fixture
def office(place: Place) -> Office:
    client = place.start()
    admin = Administrator(client)
    keys = {tenant: admin.key(admin.tenant(tenant)) for tenant in ("birds", "cats")}
    identifier = f"zyzzyva-{secrets.token_hex(4)}"
    return Office(
        place,
        client,
        admin,
        Someone(identifier, "quetzaltenango", 881_000 + secrets.randbelow(1000) * 10, keys["birds"]),
        Someone(f"quokka-{secrets.token_hex(4)}", "wobbegongs", 991_000 + secrets.randbelow(1000) * 10, keys["birds"]),
        Someone(identifier, "axolotlesque", 771_000 + secrets.randbelow(1000) * 10, keys["cats"]),
    )
