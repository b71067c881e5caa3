"""Pods that are wanted at certain hours, by cron expressions of the settings.

A schedule is in force from each time that its expression names on, for so many seconds. What it wants is a floor like
any other: every replica writes it into its own row of demand (`sharing`), and the highest floor counts. Expressions and
daylight saving are cronsim's, which are those of Debian's cron.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from bowerbird.settings import DemandSchedule

Clock = Callable[[], datetime]


class Window:
    """One schedule: whether it is in force; raises SystemExit for one that can never be."""

    def __init__(self, schedule: DemandSchedule) -> None:
        self.schedule = schedule
        try:
            self._zone = ZoneInfo(schedule.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise SystemExit(f"BOWERBIRD_DEMAND_SCHEDULES: {schedule.timezone!r} is no time zone.") from error
        try:
            next(CronSim(schedule.cron, datetime.now(self._zone)))
        except CronSimError as error:
            raise SystemExit(
                f"BOWERBIRD_DEMAND_SCHEDULES: {schedule.cron!r} is no cron expression: {error}."
            ) from error
        except StopIteration as error:
            raise SystemExit(f"BOWERBIRD_DEMAND_SCHEDULES: {schedule.cron!r} names no time that there is.") from error
        self._time = datetime.min.replace(tzinfo=UTC)

    def in_force(self, now: datetime) -> bool:
        """Whether the expression names a time within the schedule's seconds before `now`."""
        lasting = timedelta(seconds=self.schedule.seconds)
        if self._time + lasting <= now:  # looked up once for each time that it names
            self._time = next(CronSim(self.schedule.cron, (now - lasting).astimezone(self._zone)))
        return self._time <= now


class Schedules:
    """Constant floors and schedules together."""

    def __init__(
        self, floors: Mapping[str, int], schedules: Sequence[DemandSchedule], clock: Clock | None = None
    ) -> None:
        self._floors = floors
        self._windows = [Window(each) for each in schedules]
        self._clock = clock or (lambda: datetime.now(UTC))

    def floors(self) -> Mapping[str, int]:
        """Service -> pods that are wanted now whatever the work: the most that anything asks for."""
        now, found = self._clock(), dict(self._floors)
        for window in self._windows:
            if window.in_force(now):
                service = window.schedule.service
                found[service] = max(found.get(service, 0), window.schedule.pods)
        return found
