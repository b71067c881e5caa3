"""The animators: the endpoints of animation, which model they move pictures with, and the queue for their slots.

They are looked at here and not in `stages`, since one that is ready may still draw no clips: it says so at `/describe`
(501). Endpoints that draw with another model than the first one are no capacity for clips that were checked against
that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from bowerbird.contracts import MotionDescription
from bowerbird.errors import BowerbirdError, FeatureUnavailable, StageBroken
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.background import in_background
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.waking import Waking
from bowerbird.gateway.stages import POLL_TIMEOUT
from bowerbird.gateway.upstream import Stage, as_contract, broken, unavailable

CHAIN = (Stage.SAFETY, Stage.ANIMATION, Stage.CURATION)
"""What a clip needs."""
NOT_BUILT_IN = 501

logger = logging.getLogger(__name__)


class Animators:
    """The animators of one process; `urls` is the live list of where they may be asked, `admission` their queue."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        admission: Admission,
        waking: Waking,
        poll_seconds: float,
    ) -> None:
        self.admission = admission
        self._session = session
        self._urls = urls
        self._waking = waking
        self._poll_seconds = poll_seconds
        self._model: MotionDescription | None = None
        self._moves_none = False
        self._known: set[str] = set()
        self._one_at_a_time = asyncio.Lock()

    @property
    def known_model(self) -> MotionDescription | None:
        """What clips are drawn with, as far as is known without asking."""
        return self._model

    async def model(self, call: Call) -> MotionDescription:
        """What clips are drawn with; of one that sleeps, when it is awake.

        Raises FeatureUnavailable where what is served draws none, StageUnavailable where nobody says.
        """
        if self._model is None:
            await self._waking.until_awake([Stage.ANIMATION], call, CHAIN)
            await self._look()
        if self._model is not None:
            return self._model
        if self._moves_none:
            raise FeatureUnavailable("Moving pictures are not drawn by this deployment: it serves no model that moves.")
        raise unavailable(Stage.ANIMATION, "has not been ready yet")

    def require(self, model: MotionDescription) -> None:
        """Raises StageBroken when clips are drawn with another by now: what was planned for this is planned anew."""
        if self._model is not None and self._model.digest != model.digest:
            raise broken(Stage.ANIMATION, "draws with another model than when this was planned")

    def forget_model(self) -> None:
        """Has it described again, after animation drew with another than it had described."""
        self._model = None

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at the endpoints every `stage_poll_seconds` until the context ends."""
        async with in_background(self._look_again_and_again()):
            yield

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # a bug: clips must not stand still for it
                logger.exception("animation was not looked at")
            await asyncio.sleep(self._poll_seconds)

    async def _look(self) -> None:
        async with self._one_at_a_time:
            urls = list(self._urls)
            said = await asyncio.gather(*map(self._describe, urls))
            ready = {url: each for url, each in zip(urls, said, strict=True) if isinstance(each, MotionDescription)}
            if ready:
                self._model, self._moves_none = next(iter(ready.values())), False
            elif any(isinstance(each, FeatureUnavailable) for each in said):
                self._model, self._moves_none = None, True
            for url in urls:
                self._report(url, ready.get(url))
            for url in self._known - set(urls):
                self.admission.seen_gone(url)
            self._known = set(urls)

    def _report(self, url: str, said: MotionDescription | None) -> None:
        if said is None or self._model is None or said.digest != self._model.digest:
            self.admission.seen_away(url)
        else:
            self.admission.seen_ready(url, said.slots, said.costs.unit_seconds if said.costs else None)

    async def _describe(self, url: str) -> MotionDescription | BowerbirdError:
        """What it says, or why it says nothing."""
        try:
            async with self._session.get(url + "/describe", timeout=POLL_TIMEOUT) as answer:
                if answer.status == NOT_BUILT_IN:
                    return FeatureUnavailable("It draws no clips.")
                if answer.status != 200:
                    return unavailable(Stage.ANIMATION, f"answered with status {answer.status}")
                return as_contract(MotionDescription, await answer.read(), Stage.ANIMATION)
        except (aiohttp.ClientError, TimeoutError):
            return unavailable(Stage.ANIMATION, "cannot be reached")
        except StageBroken as error:
            logger.warning("animation cannot say what it draws with", extra={"reason": error.message})
            return error
