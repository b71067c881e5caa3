"""What the requests of one gateway process share; made once by `app.create_app`, found at `app.state.gateway`."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.identity import Identity
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.results.results import Results
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Upstream
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class Gateway:
    """The process' parts, each with one subject."""

    settings: Settings
    identity: Identity
    metrics: Metrics
    upstream: Upstream
    stages: Stages
    admission: Admission
    records: Records
    results: Results
    jobs: JobRoom
