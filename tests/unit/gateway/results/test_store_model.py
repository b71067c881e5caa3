"""The store against a dictionary and a shelf in memory: whatever happens in whatever order, crashes included."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.database import FILE_NAME, database_url, open_database
from bowerbird.gateway.results.metrics import ResultMetrics
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.store import ARRIVAL_SECONDS, Keeping, ResultStore
from bowerbird.gateway.results.worth import Shelf

from ..records.conftest import Clock
from .conftest import TTL_SECONDS, Shop, names
from .drawings import result

MAX_BYTES = 1_000
KEYS = st.integers(0, 7).map("k{}".format)


class Crash(BaseException):
    """The process dies here."""


class MortalPictures(FolderPictures):
    """Dies at the next put or delete, before or after it was done, when it is told so."""

    dies: str | None = None

    async def put(self, key: str, body: bytes, *, lasting: bool = True) -> None:
        self._die("before put")
        await super().put(key, body, lasting=lasting)
        self._die("after put")

    async def delete(self, keys: Iterable[str]) -> None:
        self._die("before delete")
        await super().delete(keys)
        self._die("after delete")

    def _die(self, moment: str) -> None:
        if self.dies == moment:
            self.dies = None
            raise Crash


class StoreMachine(RuleBasedStateMachine):
    """Draws, asks, waits and dies; `expected` says what must be found, `shelf` what may still be there."""

    newest_file: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.open = AsyncExitStack()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.newest_file, self.folder / FILE_NAME)
        self.clock = Clock()
        self.pictures = MortalPictures(self.folder / "pictures")
        database = self.run(
            self.open.enter_async_context(open_database(database_url(None, self.folder), self.clock.now))
        )
        registry = CollectorRegistry()
        metrics = ResultMetrics(registry)
        store = ResultStore(database, self.pictures, Keeping(MAX_BYTES, TTL_SECONDS), metrics)
        self.shop = Shop(database, self.pictures, self.clock, registry, metrics, store)
        self.shelf = Shelf(MAX_BYTES)
        self.expected: dict[str, tuple[Result, int]] = {}
        """Key -> what was stored last, and when it expires."""
        self.drawn = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.open.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def draw(self, size: int) -> Result:
        self.drawn += 1
        body = f"{self.drawn:04}".encode() * (size // 4)
        half = len(body) // 2 if size % 8 == 0 else len(body)
        return result(*filter(None, (body[:half], body[half:])), request_id=f"req_{self.drawn}")

    @rule(key=KEYS, size=st.integers(1, 120).map(lambda each: each * 4), cost=st.integers(1, 50))
    def store(self, key: str, size: int, cost: int) -> None:
        drawn = self.draw(size)
        stored = self.run(self.shop.store.put(names(key, "all"), float(cost), drawn))
        assert (stored is not None) == self.shelf.put(key, float(cost), size)
        self.expected[key] = (drawn, self.clock.ms + round(TTL_SECONDS * 1000))
        self.clock.advance(1)

    @rule(key=KEYS)
    def store_what_is_too_large(self, key: str) -> None:
        assert not self.run(self.shop.store.put(names(key), 50.0, self.draw(MAX_BYTES + 4)))

    @rule(key=KEYS)
    def ask(self, key: str) -> None:
        found = self.run(self.shop.store.find(key))
        assert (found and found.result) == (self.expected[key][0] if self.shelf.use(key) else None)

    @rule()
    def ask_for_any(self) -> None:
        found = self.run(self.shop.store.find_like("all"))
        if found is None:
            assert not self.shelf.standings
            return
        [key] = [each for each, (drawn, _) in self.expected.items() if drawn == found.result]
        assert self.shelf.use(key)

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.clock.advance(days * 86_400)
        self.run(self.shop.store.sweep())
        for key, (_, expires_ms) in self.expected.items():
            if expires_ms <= self.clock.ms:
                self.shelf.standings.pop(key, None)

    @rule(key=KEYS, size=st.integers(1, 120).map(lambda each: each * 8), cost=st.integers(1, 50))
    def die_while_storing(self, key: str, size: int, cost: int) -> None:
        self.pictures.dies = "before put" if cost % 2 else "after put"
        with pytest.raises(Crash):
            self.run(self.shop.store.put(names(key), float(cost), self.draw(size)))
        self.shelf.make_room(size)
        self.come_back()

    @rule()
    def die_while_deleting(self) -> None:
        self.pictures.dies = "after delete" if self.drawn % 2 else "before delete"
        self.clock.advance(TTL_SECONDS)
        try:
            self.run(self.shop.store.sweep())
            self.pictures.dies = None
        except Crash:
            pass
        self.shelf.standings.clear()
        self.come_back()

    def come_back(self) -> None:
        """Another process, after the dead one's arrivals have expired, takes up where it left."""
        self.run(self.shop.check_books(MAX_BYTES))
        self.shop.store = self.shop.another(MAX_BYTES, self.pictures)
        self.clock.advance(ARRIVAL_SECONDS)
        self.run(self.shop.store.sweep())
        assert set(self.run(self.shop.rows())) <= {"ready"}
        assert self.run(self.shop.store.search()) == 0

    @invariant()
    def the_books_are_right(self) -> None:
        self.run(self.shop.check_books(MAX_BYTES))


def test_store_gives_what_was_stored_and_keeps_its_bounds_whatever_happens(newest_file: Path) -> None:
    StoreMachine.newest_file = newest_file
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=10, stateful_step_count=25, deadline=None))
