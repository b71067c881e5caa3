"""What the requests of one gateway process share; made once by `app.create_app`, found at `app.state.gateway`."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.batches.room import BatchRoom
from bowerbird.gateway.clips.endpoints import Animators
from bowerbird.gateway.demand.opening import DemandRoom
from bowerbird.gateway.feedback.feedback import Feedback
from bowerbird.gateway.files.room import FileRoom
from bowerbird.gateway.hot.hits import Hits
from bowerbird.gateway.hot.statuses import Statuses
from bowerbird.gateway.identity.identity import Identity
from bowerbird.gateway.identity.opening import Administration
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.limits.limits import Limits
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.replicas.election import Election
from bowerbird.gateway.results.results import Results
from bowerbird.gateway.rights.opening import Rights
from bowerbird.gateway.species.opening import SpeciesFiles
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Upstream
from bowerbird.gateway.webhooks.opening import Webhooks
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class Gateway:
    """The process' parts, each with one subject."""

    settings: Settings
    identity: Identity
    administration: Administration
    limits: Limits
    metrics: Metrics
    upstream: Upstream
    stages: Stages
    admission: Admission
    animators: Animators
    demand: DemandRoom
    records: Records
    results: Results
    hits: Hits
    statuses: Statuses
    jobs: JobRoom
    files: FileRoom
    batches: BatchRoom
    feedback: Feedback
    rights: Rights
    species: SpeciesFiles
    webhooks: Webhooks | None
    """None where several gateways share a database and have no key to seal signing secrets with."""
    election: Election | None = None
    """Of the owner of the queue's order; None where this process is alone."""
    clip_election: Election | None = None
    """Of the owner of the order of clips."""

    def stop(self) -> None:
        """Told to end, in `Settings.drain_seconds`.

        Requests that wait are computed and what is computed is finished, as far as that time suffices; jobs that wait,
        and batches, are given back.
        """
        seconds = self.settings.drain_seconds
        self.admission.stop(seconds)
        self.animators.admission.stop(seconds)
        self.demand.stop(seconds)
        self.jobs.carrier.end_within(seconds, alone=not self.elections)
        self.batches.carrier.stop_claiming()
        for election in self.elections:
            election.stop()

    @property
    def elections(self) -> list[Election]:
        """Those that this process takes part in."""
        return [each for each in (self.election, self.clip_election) if each is not None]
