"""Single-flight: identical requests that are here at the same time are drawn once.

The first who asks for a key leads: it does the work, as its own request, with its own deadline, trace and place in the
queue. Who asks for the same key meanwhile follows: it waits for the leader's result within its own deadline, and takes
no place in the queue.

    the leader finishes              every follower has the result
    a follower hangs up, or its      it waits no longer; nobody else notices
      deadline passes
    the leader hangs up, or its      the follower who has waited longest leads: it begins the work as its own request;
      deadline passes                the others go on waiting, now for it
    the leader fails                 likewise: what failed once may succeed for the next, and who meets a failure meets
                                     that of its own work, never somebody else's
    the leader is refused for what   the refusal is every follower's too (`final`): the same request would be refused in
      holds of every such request    the same way, and drawing it once for each would only cost

Followers take memory and no place in a queue that bounds it, so they have a bound of their own: who finds
`max_followers` waiting goes its own way, to the queue, which takes it or says that it is full.

A new leader starts from the beginning: what the former had done is gone with its connection to the stages. Followers
are in memory only; a process that dies loses its flights with the connections they answer. Each gateway process has its
own; between several, `claims` says who draws.

The key must hold everything that makes the leader's answer right for the follower: safety has allowed each of them on
its own before it asks here.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bowerbird.errors import BowerbirdError

MAX_FOLLOWERS = 1024
"""In one process; each has a connection and a task, together some tens of KiB."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Word(Generic[Value]):
    """What a follower is told: a value, a refusal, or (neither) to lead."""

    value: Value | None = None
    refusal: BowerbirdError | None = None

    @property
    def is_to_lead(self) -> bool:
        return self.value is None and self.refusal is None


Followers = dict["asyncio.Future[_Word[Value]]", None]
"""In the order in which they came; a dict, because who hangs up leaves from the middle."""


@dataclass(frozen=True, slots=True)
class Landed(Generic[Value]):
    """The value of a flight, and whether this caller did the work."""

    value: Value
    led: bool


class Flights(Generic[Value]):
    """The work that is under way in this process, by key; used in one event loop. A value is never None."""

    def __init__(self, max_followers: int = MAX_FOLLOWERS) -> None:
        self._max_followers = max_followers
        self._followers: dict[str, Followers[Value]] = {}
        self._following = 0

    def __len__(self) -> int:
        """How many keys are under way."""
        return len(self._followers)

    async def once(
        self, key: str, work: Callable[[], Awaitable[Value]], final: tuple[type[BowerbirdError], ...] = ()
    ) -> Landed[Value]:
        """The value of `key`, by `work` or by that of somebody who is at it; raises what the work raised.

        Errors of the classes in `final` are shared with the followers; any other is the leader's own.
        """
        if key in self._followers:
            if self._following >= self._max_followers:
                return Landed(await work(), led=True)
            word = await self._follow(key)
            if word.refusal is not None:
                raise copy.copy(word.refusal)  # a traceback of its own: one exception is not raised in two tasks
            if word.value is not None:
                return Landed(word.value, led=False)
        else:
            self._followers[key] = {}
        return Landed(await self._lead(key, work, final), led=True)

    async def _lead(
        self, key: str, work: Callable[[], Awaitable[Value]], final: tuple[type[BowerbirdError], ...]
    ) -> Value:
        try:
            value = await work()
        except final as refusal:
            self._tell_all(key, _Word(refusal=refusal))
            raise
        except BaseException:
            self._hand_over(key)
            raise
        self._tell_all(key, _Word(value))
        return value

    async def _follow(self, key: str) -> _Word[Value]:
        turn: asyncio.Future[_Word[Value]] = asyncio.get_running_loop().create_future()
        followers = self._followers[key]
        followers[turn] = None
        self._following += 1
        try:
            return await turn
        except asyncio.CancelledError:
            followers.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.result().is_to_lead:
                self._hand_over(key)  # it was told to lead and hung up before it could
            raise
        finally:
            self._following -= 1

    def _tell_all(self, key: str, word: _Word[Value]) -> None:
        for turn in self._followers.pop(key):
            if not turn.done():
                turn.set_result(word)

    def _hand_over(self, key: str) -> None:
        followers = self._followers[key]
        while followers:
            turn = next(iter(followers))
            del followers[turn]
            if not turn.done():
                turn.set_result(_Word())
                return
        del self._followers[key]
