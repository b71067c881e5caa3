"""`python -m bowerbird.safety.pin [policy.yaml]`: renews the sha256 pins of a policy after its files were edited.

An edit of a lexicon is an edit of the policy: this writes the new digests into it and nothing else (comments stay), so
that the change shows in a review as one line beside the edit, and old decisions keep naming the old policy.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bowerbird.safety.policy import PACKAGED, PACKAGED_POLICY, load_policy

PIN = re.compile(r'(\{path: (?P<path>[^,}]+), sha256: )"?[0-9a-f]{64}"?')


def pin(policy: Path) -> list[str]:
    """Rewrites the pins in place, gives the paths whose digest changed; raises PolicyInvalid when nothing loads it."""
    changed = []

    def renewed(match: re.Match[str]) -> str:
        beside = policy.parent / match["path"]
        raw = (beside if beside.exists() else PACKAGED / match["path"]).read_bytes()
        line = f'{match[1]}"{hashlib.sha256(raw).hexdigest()}"'
        if line != match[0]:
            changed.append(match["path"])
        return line

    policy.write_text(PIN.sub(renewed, policy.read_text("utf-8")), "utf-8")
    load_policy(policy)
    return changed


def main(arguments: Sequence[str]) -> None:
    """Pins the policy that `arguments` name, or the packaged one, and prints what changed."""
    for path in pin(Path(arguments[0]) if arguments else PACKAGED_POLICY):
        print(f"pinned {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
