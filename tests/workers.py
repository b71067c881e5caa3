"""How pytest's workers share the tests (`make test`): what is dear to set up is set up once, and what is long comes
first.

A file's tests stay in one worker, as `--dist loadfile` has it; so do those that share something dear: the running stack
of `tests/integration`, the graphs that the compiler's tests export, a release in a cluster. Every worker would make its
own. There is one worker more than there are processors, since many tests wait for processes that they started.

Five thousand tests and the modules they import are more than a gigabyte of objects that live to the end: the garbage
collector leaves them alone.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import psutil
import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

INSTALLED = ("installation", "devices", "gpus", "images", "metric", "models", "nodes", "rights")
TOGETHER = (
    ("tests/unit/compiler/",),
    ("tests/integration/",),
    tuple(f"tests/cluster/test_{name}.py" for name in INSTALLED),
)
"""How the names begin of files whose session fixtures (`exports`, `stack`, `bowerbird`) are dear, or which would take
each other's GPUs."""

FIRST = (
    "tests/chaos/test_chaos.py",
    "tests/unit/compiler/",
    "tests/unit/benchmarks/test_gateway_rows.py",
    "tests/integration/",
    *(f"tests/cluster/test_{name}.py" for name in ("scale_down", "installation", "gateways", "scaling", "reasons")),
)
"""Minutes each; begun late, one of them would run alone at the end. Faults and the stack follow each other in one
worker: two tests are so few that a worker is given what comes next as well."""

LAST = tuple(f"tests/cluster/test_{name}.py" for name in ("disturbances", "cycles"))
"""Those that nothing else can run beside."""


def scope_of(nodeid: str) -> str:
    """What stays in one worker: files that belong together, by the first of their names, or one file."""
    return next((group[0] for group in TOGETHER if nodeid.startswith(group)), nodeid.partition("::")[0])


def rank_of(nodeid: str) -> int:
    """When it is begun."""
    scope = scope_of(nodeid)
    if scope in LAST:
        return len(FIRST) + 1
    return FIRST.index(scope) if scope in FIRST else len(FIRST)


class TogetherScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Hands out files, and those that belong together at once."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherScheduling:
    """For every `--dist`: the tests are written for this one."""
    return TogetherScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n logical` is."""
    return (psutil.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The same order in every worker, or xdist refuses to begin."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank_of(item.nodeid))


def pytest_sessionstart() -> None:
    """Nothing that is collected is garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on only what tests make is looked at."""
    gc.collect()
    gc.freeze()
    gc.enable()
