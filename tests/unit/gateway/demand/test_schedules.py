"""Schedules: pods that are wanted at certain hours, where the sun rises at another time than here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.demand.schedules import Schedules
from bowerbird.settings import DemandSchedule

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(cron: str = "0 8 * * 1-5", hours: float = 10, pods: int = 2, timezone: str = "UTC") -> DemandSchedule:
    return DemandSchedule(service="draws", cron=cron, seconds=round(hours * 3600), pods=pods, timezone=timezone)


def floor(now: datetime, *schedules: DemandSchedule, **floors: int) -> int:
    return Schedules(floors, schedules, lambda: now).floors().get("draws", 0)


@pytest.mark.parametrize(
    ("hour", "pods"),
    [(7.99, 0), (8, 2), (17.99, 2), (18, 0)],
)
def test_a_schedule_holds_from_its_time_on_for_its_seconds(hour: float, pods: int) -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    assert floor(monday + timedelta(hours=hour), schedule()) == pods
    assert floor(monday - timedelta(hours=24 - hour), schedule()) == 0, "a Sunday"


@pytest.mark.parametrize("day", [datetime(2026, 3, 28, tzinfo=BERLIN), datetime(2026, 3, 29, tzinfo=BERLIN)])
def test_it_holds_at_the_hours_of_its_time_zone_in_summer_too(day: datetime) -> None:
    there = schedule("0 8 * * *", hours=1, timezone="Europe/Berlin")
    for hour in range(24):
        assert floor(day.replace(hour=hour), there) == (2 if hour == 8 else 0), hour


def test_the_most_that_anything_asks_for_is_wanted() -> None:
    now = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert floor(now, schedule(pods=2), schedule("0 9 * * *", pods=5), draws=3) == 5
    assert floor(now, schedule(pods=2), draws=3) == 3
    assert Schedules({"judges": 1}, [schedule()], lambda: now).floors() == {"judges": 1, "draws": 2}


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=40))
def test_what_holds_does_not_depend_on_when_one_looked_before(steps: list[int]) -> None:
    now, windows = datetime(2026, 3, 28, 22, tzinfo=UTC), [schedule("*/50 * * * *", hours=0.5)]
    clock = [now]
    one = Schedules({}, windows, lambda: clock[0])
    for step in steps:
        clock[0] += timedelta(seconds=step)
        assert one.floors() == Schedules({}, windows, lambda: clock[0]).floors()


@pytest.mark.parametrize(
    ("cron", "timezone", "said"),
    [
        ("every morning", "UTC", "no cron expression"),
        ("0 25 * * *", "UTC", "no cron expression"),
        ("0 8 30 2 *", "UTC", "no cron expression"),
        ("0 8 * * *", "Europe/Bielefeld", "no time zone"),
    ],
)
def test_one_that_makes_no_sense_stops_the_start_with_a_sentence(cron: str, timezone: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        Schedules({}, [schedule(cron, timezone=timezone)])
