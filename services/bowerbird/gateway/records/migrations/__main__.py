"""`python -m bowerbird.gateway.records.migrations`: brings the database to the newest revision, and ends.

The chart's Job runs it before it installs or upgrades, so that a migration that fails stops Helm while the gateways of
the release before serve on. A gateway does the same when it starts; whoever comes second finds nothing to do. On a
rollback Helm runs the *older* release's Job: a newer database that it may run on is left as it is.
"""

from __future__ import annotations

import asyncio

from bowerbird.gateway.records.migrating import migrate
from bowerbird.settings import Settings
from bowerbird.telemetry import set_up_telemetry

if __name__ == "__main__":
    set_up_telemetry("migrations")
    asyncio.run(migrate(Settings()))
