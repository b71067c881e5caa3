"""What a stored result is worth, and therefore which one leaves when there is no room: GreedyDual-Size-Frequency.

    credit = inflation + uses × cost / bytes

A result is worth the computing it saves for each byte it takes, as often as it was used. `inflation` is the credit of
the last one that had to leave: whoever is used again is lifted by all that was evicted meanwhile, so that what was
popular once ages without a clock. L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
Caching Policy", HP Laboratories HPL-98-69, 1998; after P. Cao and S. Irani, "Cost-Aware WWW Proxy Caching Algorithms",
USENIX Symposium on Internet Technologies and Systems, 1997.

`store` keeps credit and inflation in rows; `Shelf` is the same order in memory, which the tests hold the rows against
and the benchmark replays traffic on.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def credit(inflation: float, uses: int, cost: float, size: int) -> float:
    """The credit of a result of `size` bytes (at least 1) that takes `cost` compute units and was used `uses` times."""
    return inflation + uses * cost / size


@dataclass(slots=True)
class Standing:
    """One result on a shelf."""

    cost: float
    bytes: int
    uses: int
    credit: float


@dataclass(slots=True)
class Shelf:
    """Results in at most `max_bytes`, by credit."""

    max_bytes: int
    inflation: float = 0.0
    standings: dict[str, Standing] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What the results take together."""
        return sum(each.bytes for each in self.standings.values())

    def use(self, key: str) -> bool:
        """Whether it is there; if so, it has been used once more."""
        standing = self.standings.get(key)
        if standing is None:
            return False
        standing.uses += 1
        standing.credit = credit(self.inflation, standing.uses, standing.cost, standing.bytes)
        return True

    def make_room(self, size: int) -> list[str]:
        """Has the least worth leave until `size` bytes are free; the keys of those that left, first to last.

        For what is larger than the shelf nothing leaves.
        """
        evicted: list[str] = []
        taken = self.bytes
        while size <= self.max_bytes < taken + size:
            least = min(self.standings, key=lambda each: self.standings[each].credit)
            leaving = self.standings.pop(least)
            self.inflation, taken = max(self.inflation, leaving.credit), taken - leaving.bytes
            evicted.append(least)
        return evicted

    def put(self, key: str, cost: float, size: int) -> bool:
        """Puts a result in the place of its namesake, once there is room beside that; False when it is too large."""
        self.make_room(size)
        if size > self.max_bytes:
            return False
        self.standings.pop(key, None)
        self.standings[key] = Standing(cost, size, 1, credit(self.inflation, 1, cost, size))
        return True
