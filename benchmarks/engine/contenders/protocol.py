"""The contender's end of `benchmarks/engine/contender.py`: get ready, then answer one question a line.

Plain Python: it runs in every peer's environment. What libraries print goes to stderr; stdout is the protocol's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Answer]]) -> None:
    """`prepare` gets the specification and gives facts about itself and the function that answers."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    begin = time.perf_counter()
    facts, answer = prepare(json.loads(sys.argv[1]))
    print(json.dumps({"ready_seconds": time.perf_counter() - begin, **facts}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
