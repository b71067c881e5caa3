"""One parser under libFuzzer: `python -m tests.fuzz.one NAME OPTION… CORPUS`, as libFuzzer is started.

Our own code is instrumented, and the parsers written in Python that it leans on, so that inputs which reach new code
are kept and changed further. (https://llvm.org/docs/LibFuzzer.html, https://github.com/google/atheris)
"""

from __future__ import annotations

import sys
import warnings

import atheris

INSTRUMENTED = [
    "bowerbird.client",
    "bowerbird.curation",
    "bowerbird.gateway.api",
    "bowerbird.gateway.files",
    "bowerbird.gateway.identity",
    "bowerbird.gateway.records.cursor",
    "bowerbird.gateway.webhooks",
    "bowerbird.parts",
    "bowerbird.pregenerate",
    "httpx2._sse",
    "python_multipart",
    "starlette.formparsers",
]

with atheris.instrument_imports(include=INSTRUMENTED):
    from .parsers import BY_NAME


def main() -> None:
    """Does not return."""
    parser = BY_NAME[sys.argv.pop(1)]
    warnings.simplefilter("ignore")  # Pillow says what is odd about a file with which it goes on
    atheris.Setup(sys.argv, parser.ask)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
