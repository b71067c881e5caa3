"""A clip beyond what its tenant may use is refused with the longest that is accepted, before anything is asked."""

from __future__ import annotations

from pathlib import Path

from ..conftest import StartGateway
from ..identity.gateways import ADMIN, Administrator, bearer
from ..stand_ins import StandIns

LONGER = {"prompt": "a small red bird", "seconds": 4, "fps": 24, "steps": 20}
"""32 frames are drawn by three windows: 120 rows of a step."""


def test_a_clip_beyond_the_tenants_budget_is_refused_with_the_longest_that_is_accepted(
    start_gateway: StartGateway, stages: StandIns, tmp_path: Path
) -> None:
    tiers = tmp_path / "tiers.toml"
    tiers.write_text("[some]\ncompute_units_per_minute = 100\n[few]\ncompute_units_per_minute = 10\n")
    admin = Administrator(start_gateway(ready=("safety", "animation"), admin_keys=frozenset({ADMIN}), tiers=tiers))
    keys = {tier: bearer(admin.key(admin.tenant(tier, tier=tier))) for tier in ("some", "few")}
    longest = "up to 3.5 s at 24 frames a second"
    for tier, says in (("some", longest), ("few", "fewer steps or candidates")):
        answer = admin.client.post("/v1/videos", json=LONGER, headers=keys[tier])
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (403, "tier_exceeded", "seconds")
        assert says in error["message"]
    assert not stages.seen
    assert admin.client.post("/v1/videos", json=LONGER | {"seconds": 3.5}, headers=keys["some"]).status_code == 200
