"""Nothing is lost while everything breaks: the short run of `make chaos`, in each set-up."""

from __future__ import annotations

import os

import pytest

from .plan import Setup, make_plan
from .run import carry_out
from .stack import means, missing

pytestmark = pytest.mark.timeout(900)

SEED = 1841
OPERATIONS, FAULTS = 100, 7


@pytest.mark.parametrize("setup", Setup)
def test_every_claim_holds_while_everything_breaks(setup: Setup) -> None:
    if why := missing(setup):
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    result = carry_out(make_plan(SEED, setup, OPERATIONS, FAULTS, means(setup)), print)
    assert result.against == [], f"seed {SEED}; ledger, logs and rows: {result.folder}"
    assert len(result.evidence.ledger.faults) == FAULTS
