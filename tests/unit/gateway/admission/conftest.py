from __future__ import annotations

import pytest

from bowerbird.gateway.admission import admission as front
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order


@pytest.fixture
def admission() -> Admission:
    """One endpoint with one slot, which answers looks."""
    return Admission.alone(Order(pauses=Pauses(first_seconds=0.01)))


@pytest.fixture(autouse=True)
def _talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "TELL_SECONDS", 0.01)
