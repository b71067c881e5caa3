"""What the gateway knows of the stages without asking them in a request: ready or not, since when, and which model.

A background task for each endpoint asks its `/readyz`; when one of text-to-image turns ready, its `/describe` says
which model it draws with, and requests are checked against that before any model is asked. The description outlives a
stage that goes away (a bad request is still told so), and is read again when it comes back. What a look at
text-to-image shows is also what admission knows of its endpoints. Curation says at every look what it chooses by and
signs with, and safety what it decides by: they may have been restarted between two.

Endpoints are those of the settings, or, in a cluster, those that `discovery` finds: they come and go. A stage of
`settings.sleeping_stages` that has none is asleep: whoever needs it is waited with, since demand wakes it (`demand`).
What text-to-image said of itself is kept (`on_model`), so that a gateway that starts beside a sleeping model can price
and check requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import aiohttp

from bowerbird.contracts import CurationDescription, ModelDescription, SafetyDescription
from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.upstream import Stage, as_contract, unavailable

Description = TypeVar("Description", ModelDescription, CurationDescription, SafetyDescription)

FIRST_LOOKS_SECONDS = 1.0
POLICY_BELIEVED_SECONDS = 2.0
"""How long what safety said of itself is taken to hold, from before it was asked."""
POLL_TIMEOUT = aiohttp.ClientTimeout(total=5.0)

logger = logging.getLogger(__name__)


class StageState(StrEnum):
    """What the last look at a stage showed; of several endpoints the first of these that one of them shows."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNREACHABLE = "unreachable"
    ASLEEP = "asleep"
    """It has no endpoint, and gets one when it is needed."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A state and the moment (UTC) it began."""

    state: StageState = StageState.UNREACHABLE
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Stages:
    """The last known state of every stage, kept up to date while `watched()` is open.

    A stage with several endpoints is ready when one of them is. The model is that of the first endpoint that is ready;
    those that draw with another one (an update that is under way) are no capacity for requests checked against it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Mapping[Stage, Sequence[str]],
        poll_seconds: float,
        admission: Admission,
        sleeping: Collection[str] = (),
    ) -> None:
        self.urls = {stage: list(each) for stage, each in urls.items()}
        """Where each stage may be asked now; the lists change, and stay the same lists."""
        self.left_out: dict[str, str] = {}
        """Endpoints of text-to-image that are ready and given nothing -> the reason."""
        self.on_model: Callable[[ModelDescription], None] = lambda _: None
        """Is told what text-to-image draws with, whenever that is another model than before."""
        self._session = session
        self._poll_seconds = poll_seconds
        self._admission = admission
        self._sleeping = frozenset(sleeping)
        self._statuses = {stage: StageStatus() for stage in urls}
        self._endpoints = {stage: dict.fromkeys(each, StageState.UNREACHABLE) for stage, each in urls.items()}
        self._found: set[Stage] = set()
        self._looking: dict[tuple[Stage, str], asyncio.Task[None]] = {}
        self._ended = False
        self._been_ready: set[Stage] = set()
        self._described: dict[str, ModelDescription] = {}
        self._model: ModelDescription | None = None
        self._curation: CurationDescription | None = None
        self._policies: dict[str, tuple[SafetyDescription, float]] = {}
        self._changed = asyncio.Event()

    @property
    def statuses(self) -> Mapping[Stage, StageStatus]:
        """Every stage's status, in the order of the chain."""
        return self._statuses

    @property
    def chain_is_ready(self) -> bool:
        """Whether every stage that a picture needs was ready when it was last looked at."""
        needed = (Stage.SAFETY, Stage.TEXT_TO_IMAGE, Stage.CURATION)
        return all(self._statuses[stage].state is StageState.READY for stage in needed)

    @property
    def chain_may_come(self) -> bool:
        """Whether every stage that a picture needs is ready, or will be because somebody waits for it."""
        return self.may_come((Stage.SAFETY, Stage.TEXT_TO_IMAGE, Stage.CURATION))

    def may_come(self, chain: Iterable[Stage]) -> bool:
        """Whether each of these stages is ready, or will be because somebody waits for it."""
        return all(self._statuses[stage].state is StageState.READY or self.sleeps(stage) for stage in chain)

    def sleeps(self, stage: Stage) -> bool:
        """Whether demand wakes this stage."""
        return stage.value in self._sleeping

    def has_endpoint(self, stage: Stage) -> bool:
        """Whether it may be given work, as far as is known."""
        return self._statuses[stage].state is StageState.READY

    def remember(self, model: ModelDescription) -> None:
        """What text-to-image drew with when a gateway saw it last; what it says itself goes before."""
        self._model = self._model or model

    @property
    def knows_model(self) -> bool:
        """Whether `model` has an answer."""
        return self._model is not None

    def model(self) -> ModelDescription:
        """What text-to-image draws with; raises StageUnavailable until it has been ready once."""
        if self._model is None:
            raise unavailable(Stage.TEXT_TO_IMAGE, "has not been ready yet")
        return self._model

    @property
    def curation(self) -> CurationDescription | None:
        """What curation chooses by and signs with; None until it has been ready once."""
        return self._curation

    def safety(self) -> SafetyDescription | None:
        """What safety decides by, as all that are ready said themselves within POLICY_BELIEVED_SECONDS; else None."""
        states, now = self._endpoints[Stage.SAFETY].items(), time.monotonic()
        said = [self._policies.get(url) for url, state in states if state is StageState.READY]
        fresh = [each[0] for each in said if each is not None and now < each[1]]
        return fresh[0] if fresh and len(fresh) == len(said) and fresh.count(fresh[0]) == len(fresh) else None

    def forget_model(self) -> None:
        """Has the descriptions read again, after a stage answered with another model than it had described."""
        for url in self._endpoints[Stage.TEXT_TO_IMAGE]:
            self._note(Stage.TEXT_TO_IMAGE, url, StageState.NOT_READY)

    def require_coming(self, stage: Stage, within_seconds: float) -> None:
        """Raises StageUnavailable for a stage that nobody should wait for.

        One that starts or sleeps is waited for, and one that cannot be reached only if it was ready before and has not
        been away for longer than one waits: whatever restarts it has had its time.
        """
        if self.sleeps(stage):
            return
        status = self._statuses[stage]
        away_seconds = (datetime.now(UTC) - status.since).total_seconds()
        if status.state is StageState.UNREACHABLE and (stage not in self._been_ready or away_seconds > within_seconds):
            raise unavailable(stage, "is unreachable")

    async def until_seen(self, stage: Stage) -> None:
        """For one that was never ready, and does not sleep: returns when it is, or when it was looked at once more.

        A release that was just installed is ready before its gateway has looked: who asks then is not refused by what
        was so a moment ago.
        """
        if stage in self._been_ready or self.sleeps(stage):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * self._poll_seconds):
                while stage not in self._been_ready:
                    await self.change()

    async def until_ready(self, stage: Stage, within_seconds: float) -> None:
        """Returns when the stage is ready; raises StageUnavailable when it is not in time, or will not be."""
        await self.until_seen(stage)
        try:
            async with asyncio.timeout(within_seconds):
                while self._statuses[stage].state is not StageState.READY:
                    self.require_coming(stage, within_seconds)
                    await self.change()
        except TimeoutError as error:
            raise self.not_in_time(stage) from error

    def not_in_time(self, stage: Stage) -> StageUnavailable:
        """The fact that a stage was waited for in vain."""
        return unavailable(stage, f"is {self._statuses[stage].state.replace('_', ' ')} and was waited for in vain")

    async def change(self) -> None:
        """Returns at the next change of any stage's state."""
        await self._changed.wait()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at every endpoint now and every `poll_seconds` until the context ends.

        It begins when each was looked at once, or after FIRST_LOOKS_SECONDS: the first request finds what is there.
        """
        endpoints = [(stage, url) for stage, urls in self._endpoints.items() for url in urls]
        looked = [self._look_after(*each) for each in endpoints if each not in self._looking]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOKS_SECONDS):
                    await asyncio.gather(*(each.wait() for each in looked))
            yield
        finally:
            self._ended = True
            tasks = list(self._looking.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def found(self, stage: Stage, urls: Collection[str]) -> None:
        """From now on exactly these endpoints of the stage may be given new work; looks begin and end with that.

        What one that is not among them computes may still end well: it is asked nothing new, and not looked at.
        """
        if self._ended:
            return
        self._found.add(stage)
        gone = self._endpoints[stage].keys() - urls
        for url in gone:
            if looking := self._looking.pop((stage, url), None):
                looking.cancel()
            del self._endpoints[stage][url]
            self._described.pop(url, None)
            self._policies.pop(url, None)
            if stage is Stage.TEXT_TO_IMAGE:
                self._admission.seen_gone(url)
        for url in urls:
            if url not in self._endpoints[stage]:
                self._endpoints[stage][url] = StageState.UNREACHABLE
                self._look_after(stage, url)
        self._settle(stage)

    def _look_after(self, stage: Stage, url: str) -> asyncio.Event:
        looked = asyncio.Event()
        self._looking[stage, url] = asyncio.create_task(self._watch(stage, url, looked))
        return looked

    async def _watch(self, stage: Stage, url: str, looked: asyncio.Event) -> None:
        while True:
            self._note(stage, url, await self._look(stage, url))
            looked.set()
            await asyncio.sleep(self._poll_seconds)

    async def _look(self, stage: Stage, url: str) -> StageState:
        try:
            async with self._session.get(url + "/readyz", timeout=POLL_TIMEOUT) as answer:
                if answer.status != 200:
                    return StageState.NOT_READY
            if stage is Stage.TEXT_TO_IMAGE and self._endpoints[stage][url] is not StageState.READY:
                self._described[url] = await self._describe(stage, url, ModelDescription)
            elif stage is Stage.CURATION:
                curation = await self._describe(stage, url, CurationDescription)
                # Unchanged it stays the same object: it is compared at every hit.
                self._curation = self._curation if curation == self._curation else curation
            elif stage is Stage.SAFETY:
                await self._look_at_policy(url)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientSSLError):
                logger.warning("a stage is not who it should be", extra={"stage": stage, "reason": str(error.os_error)})
            return StageState.UNREACHABLE
        except StageBroken as error:
            logger.warning("a stage cannot say what it works with", extra={"stage": stage, "reason": error.message})
            return StageState.NOT_READY
        return StageState.READY

    async def _look_at_policy(self, url: str) -> None:
        """What prompts are decided by there; an earlier release does not say."""
        until = time.monotonic() + POLICY_BELIEVED_SECONDS
        try:
            said = await self._describe(Stage.SAFETY, url, SafetyDescription)
        except StageBroken:
            self._policies.pop(url, None)
            return
        before, _ = self._policies.get(url, (said, until))
        self._policies[url] = before if before == said else said, until

    async def _describe(self, stage: Stage, url: str, contract: type[Description]) -> Description:
        async with self._session.get(url + "/describe", timeout=POLL_TIMEOUT) as answer:
            if answer.status != 200:
                raise StageBroken(f"/describe answered with status {answer.status}")
            return as_contract(contract, await answer.read(), stage)

    def _note(self, stage: Stage, url: str, state: StageState) -> None:
        """What a look showed of one endpoint, and what follows from it for the stage."""
        self._endpoints[stage][url] = state
        self._settle(stage)

    def _settle(self, stage: Stage) -> None:
        """What its endpoints' states come to."""
        endpoints = self._endpoints[stage]
        if stage is Stage.TEXT_TO_IMAGE:
            self._tell_admission()
        if stage in self._found:
            self.urls[stage][:] = [url for url, state in endpoints.items() if state is StageState.READY] or endpoints
        of_stage = next((each for each in StageState if each in endpoints.values()), StageState.UNREACHABLE)
        if of_stage is StageState.UNREACHABLE and self.sleeps(stage):
            of_stage = StageState.ASLEEP
        if of_stage is not self._statuses[stage].state:
            self._statuses[stage] = StageStatus(of_stage)
            if of_stage is StageState.READY:
                self._been_ready.add(stage)
            self._changed.set()
            self._changed = asyncio.Event()
            logger.info("stage %s is %s", stage, of_stage, extra={"stage": stage, "state": of_stage})

    def _tell_admission(self) -> None:
        """Those that are ready and draw with the same model as the first of them are capacity; the others are not."""
        endpoints = self._endpoints[Stage.TEXT_TO_IMAGE]
        ready = [url for url, state in endpoints.items() if state is StageState.READY]
        if ready:
            self._adopt(self._described[ready[0]])
        left_out = {}
        for url in endpoints:
            if url not in ready:
                self._admission.seen_away(url)
                continue
            described, model = self._described[url], self._described[ready[0]]
            if described.digest == model.digest:
                costs = described.costs
                self._admission.seen_ready(url, described.slots, costs.unit_seconds if costs else None)
            else:
                self._admission.seen_away(url)
                left_out[url] = f"It draws with {described.digest}; the first that is ready, with {model.digest}."
        for url in left_out.keys() - self.left_out.keys():
            logger.warning("an endpoint draws with another model and is left out", extra={"endpoint": url})
        self.left_out = left_out

    def _adopt(self, model: ModelDescription) -> None:
        if model != self._model:
            self._model = model
            self.on_model(model)
