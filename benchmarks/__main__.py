"""`make bench`: every benchmark that needs nothing but this machine and minutes, one after the other.

`python -m benchmarks NAME …` is `python -m benchmarks.NAME …`: `animation`, `engine`, `gateway` and `gpu` take hours,
an idle machine or a GPU, and are asked for by name.
"""

from __future__ import annotations

import runpy
import sys

ALL = (
    "animation",
    "batches",
    "curation",
    "engine",
    "fresh_clone",
    "gateway",
    "gpu",
    "pregenerate",
    "result_cache",
    "safety",
    "stack",
)


def main() -> None:
    """One by its name, or all that are quick."""
    if len(sys.argv) == 1:
        from benchmarks import curation, safety, stack

        stack.main()
        safety.main()
        curation.main()
        return
    name = sys.argv[1]
    if name not in ALL:
        raise SystemExit(f"no benchmark is called {name}; there are {', '.join(ALL)}")
    sys.argv = [f"python -m benchmarks.{name}", *sys.argv[2:]]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
