"""Is a window open, and until when? Asked for every call, and answered anew only when the answer changes."""

from datetime import UTC, datetime

from zvonar.core.schedule import Schedule

_NEVER = datetime.max.replace(tzinfo=UTC)


class Hours:
    """One schedule, with its last answer."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._since = self._until = datetime.min.replace(tzinfo=UTC)  # for when the answer holds
        self._open = False

    @property
    def schedule(self) -> Schedule:
        """What it answers by."""
        return self._schedule

    def open_until(self, now: datetime) -> datetime | None:
        """When it closes; None where it is closed."""
        self._ask(now)
        return self._until if self._open else None

    def is_open(self, now: datetime) -> bool:
        """Whether dialling is allowed now."""
        self._ask(now)
        return self._open

    def opens(self, now: datetime) -> datetime | None:
        """When it opens next, `now` where it is open; None for never."""
        self._ask(now)
        if self._open:
            return now
        return None if self._until == _NEVER else self._until

    def _ask(self, now: datetime) -> None:
        if self._since <= now < self._until:
            return
        self._since = now
        self._open = self._schedule.is_open(now)
        if self._open:
            self._until = self._schedule.open_until(now)
        else:
            opens = self._schedule.next_opening(now)
            self._until = _NEVER if opens is None else opens
