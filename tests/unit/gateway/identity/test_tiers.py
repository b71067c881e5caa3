"""Tiers are read from a file that is either understood or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.gateway.identity.tiers import UNLIMITED, read_tiers


def test_the_tiers_that_come_with_it_grow_and_the_unlimited_one_counts_nothing() -> None:
    tiers = read_tiers(None)
    assert list(tiers) == [UNLIMITED, "free", "standard", "premium"]
    assert not tiers[UNLIMITED].counts
    for smaller, larger in (("free", "standard"), ("standard", "premium")):
        quotas = [[limit.quota for limit in tiers[name].request_limits] for name in (smaller, larger)]
        assert len(quotas[0]) == 4
        assert all(few < many for few, many in zip(*quotas, strict=True))


def test_a_shorter_window_is_never_the_looser_one() -> None:
    for tier in read_tiers(None).values():
        rates = [limit.quota / limit.seconds for limit in tier.request_limits]
        assert rates == sorted(rates, reverse=True)


def test_a_file_of_ones_own_replaces_them_and_unlimited_stays(tmp_path: Path) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text("[gold]\nrequests_per_day = 7\n")
    tiers = read_tiers(file)
    assert sorted(tiers) == ["gold", UNLIMITED]
    assert [limit.name for limit in tiers["gold"].request_limits] == ["requests-per-day"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gold]\nrequests_per_dy = 7\n", "requests_per_dy"),
        ("[gold]\nrequests_per_day = 0\n", "requests_per_day"),
        ("[Gold]\n", "name"),
        ("gold = 7\n", "gold"),
        ("[gold\n", "tiers.toml"),
    ],
)
def test_a_file_that_is_not_understood_stops_the_start_and_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    with pytest.raises(SystemExit, match=f"BOWERBIRD_TIERS.*{named}"):
        read_tiers(file)
    with pytest.raises(SystemExit, match="BOWERBIRD_TIERS"):
        read_tiers(tmp_path / "none.toml")
