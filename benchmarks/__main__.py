"""`make bench`: every benchmark that needs nothing but this machine, one after the other."""

from __future__ import annotations

from benchmarks import curation, safety, stack

if __name__ == "__main__":
    stack.main()
    safety.main()
    curation.main()
