"""Tiers: what a tenant may take, by name; read once from a file that people read too (`tiers.toml`).

Which tiers there are is configuration and changes with a deployment; which tenant has which is a row, and changes while
the gateways run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PACKAGED = Path(__file__).with_name("tiers.toml")
UNLIMITED = "unlimited"
"""The tier of whoever has no tenant row: keys of the settings, and `local`."""

REQUESTS = "requests"
COMPUTE_UNITS = "compute-units"

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `quota` of `unit` in each window of `seconds`, counted from 1970 on the database's clock."""

    name: str
    unit: str
    quota: float
    seconds: int


class Tier(BaseModel):
    """The limits of one tier; None is without limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    requests_per_second: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    requests_per_hour: int | None = Field(default=None, ge=1)
    requests_per_day: int | None = Field(default=None, ge=1)
    compute_units_per_minute: float | None = Field(default=None, gt=0)
    concurrent_requests: int | None = Field(default=None, ge=1)
    queue_part: float | None = Field(default=None, gt=0, le=1)
    picture_pixels: int | None = Field(default=None, ge=64)

    @cached_property
    def request_limits(self) -> tuple[Limit, ...]:
        """Those that each request counts in, the shortest window first."""
        quotas = (
            ("requests-per-second", self.requests_per_second, 1),
            ("requests-per-minute", self.requests_per_minute, MINUTE),
            ("requests-per-hour", self.requests_per_hour, HOUR),
            ("requests-per-day", self.requests_per_day, DAY),
        )
        return tuple(Limit(name, REQUESTS, quota, seconds) for name, quota, seconds in quotas if quota is not None)

    @cached_property
    def unit_limit(self) -> Limit | None:
        """The one that a drawing's cost counts in."""
        quota = self.compute_units_per_minute
        return None if quota is None else Limit("compute-units-per-minute", COMPUTE_UNITS, quota, MINUTE)

    @cached_property
    def counts(self) -> bool:
        """Whether anything of its tenants has to be counted."""
        return bool(self.request_limits or self.unit_limit or self.concurrent_requests)


Tiers = Mapping[str, Tier]

_FILE: TypeAdapter[dict[str, dict[str, Any]]] = TypeAdapter(dict[str, dict[str, Any]])


def read_tiers(file: Path | None) -> Tiers:
    """The tiers of a file, or those that come with the gateway; raises SystemExit naming what cannot be read."""
    path = file or PACKAGED
    try:
        tables = _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
        tiers = {name: Tier(name=name, **table) for name, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"BOWERBIRD_TIERS: {path} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise SystemExit(f"BOWERBIRD_TIERS: {path}: {error.title}: {where}: {first['msg']}.") from error
    return {UNLIMITED: Tier(name=UNLIMITED), **tiers}
