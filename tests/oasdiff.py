"""oasdiff (Apache-2.0) compares two OpenAPI documents and says which changes break clients of the older one.

`go_programs` builds it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .go_programs import OASDIFF

ERROR_LEVEL = 3
"""What oasdiff is sure of; 2 are warnings, such as a value that an answer may now have and a client may not know."""

GROWS = frozenset({"response-property-enum-value-added"})
"""What this API says that clients must expect (`info.description`): words in answers that they do not know."""


needs_oasdiff = pytest.mark.skipif(
    bool(OASDIFF.why_missing) and not os.environ.get("CI"), reason=OASDIFF.why_missing or ""
)


def breaking_changes(old: Path, new: Path) -> list[str]:
    """One sentence for each change that breaks a client of the old document."""
    command = [str(OASDIFF.path), "breaking", str(old), str(new), "--format", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    changes: list[dict[str, Any]] = json.loads(done.stdout or "[]") or []
    return [
        f"{each.get('operation', '')} {each.get('path', '')}: {each['text']}"
        for each in changes
        if each["level"] >= ERROR_LEVEL and each["id"] not in GROWS
    ]
