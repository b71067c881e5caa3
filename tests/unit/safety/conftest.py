"""The policy as it ships, the pipelines as they are served, and a client that speaks to the real app."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bowerbird.contracts import Decision, PromptCheck
from bowerbird.safety.gates import Finding, Texts
from bowerbird.safety.pipeline import PromptPipeline, create_prompt_pipeline
from bowerbird.safety.policy import HelpTexts, Policy, load_help_texts, load_policy
from bowerbird.safety.service import Checks, load_checks, routes
from bowerbird.settings import Settings
from bowerbird.worker import create_worker_app

CORPUS = Path(__file__).parent / "corpus.yaml"

Check = Callable[..., Decision]


class FixedGate:
    """A gate that finds what it was given, or raises it."""

    detector = "fixed@1"

    def __init__(self, outcome: Sequence[Finding] | Exception, name: str = "fixed") -> None:
        self.name = name
        self._outcome = outcome
        self.asked = 0

    def check(self, texts: Texts) -> Sequence[Finding]:
        self.asked += 1
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def corpus() -> list[dict[str, Any]]:
    """Every labelled prompt of the corpus."""
    groups = yaml.safe_load(CORPUS.read_text("utf-8"))
    return [{"group": group["group"]} | entry for group in groups for entry in group["entries"]]


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="session")
def help_texts(policy: Policy) -> HelpTexts:
    return load_help_texts(policy)


@pytest.fixture(scope="session")
def pipeline(policy: Policy) -> PromptPipeline:
    return create_prompt_pipeline(policy)


@pytest.fixture(scope="session")
def check(pipeline: PromptPipeline) -> Check:
    """The decision about a prompt as the packaged policy has it."""

    def decide(prompt: str, negative_prompt: str | None = None, locale: str = "en") -> Decision:
        return pipeline.check(PromptCheck(prompt=prompt, negative_prompt=negative_prompt, locale=locale))

    return decide


@pytest.fixture(scope="session")
def checks() -> Checks:
    """What the service loads at start, graph included."""
    return load_checks(Settings())


@pytest.fixture
async def client(checks: Checks) -> AsyncIterator[httpx.AsyncClient]:
    app = create_worker_app("safety", routes)
    app.state.checks = checks
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://safety") as each:
        yield each


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """Every record that the safety service logs, whatever its level."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, keeper = logging.getLogger("bowerbird.safety"), Keeper()
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    yield records
    logger.removeHandler(keeper)
    logger.setLevel(level)
