"""May we dial now, and until when? If not, when next? Daily window, weekdays, holidays and dates, by some clocks.

A window is half-open, [start, end). One that ends at or before its start runs over midnight and belongs to
the day on which it began; equal ends mean the whole calendar day. Local times that a DST change skips or
repeats are judged by the wall clock: dialling is open whenever the subscriber's clock shows a time inside
the window.
"""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from zvonar.core.errors import SettingsInvalid

_DAY = timedelta(days=1)
# Between these every instant has a local time, and a day before and after it, in every zone. Beyond them
# nothing is open.
_FIRST = datetime(1, 1, 3, tzinfo=UTC)
_LAST = datetime(9999, 12, 28, tzinfo=UTC)
# A weekday comes round in a week. DST may skip a short window on that day, and a zone that crosses the date
# line a whole day; both together need three weeks at most.
_HORIZON = timedelta(weeks=4)
MAX_HOLIDAYS = 366


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a campaign may dial."""

    start: time = time(9, 0)  # local wall clock
    end: time = time(20, 0)
    weekdays: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)  # ISO: Monday is 1
    date_from: date | None = None  # first day, inclusive
    date_till: date | None = None  # last day, inclusive
    holidays: tuple[date, ...] = ()  # days on which no window begins

    def checked(self) -> "Window":
        """Self, or SettingsInvalid."""
        if not self.weekdays or any(day not in range(1, 8) for day in self.weekdays):
            raise SettingsInvalid("weekdays are 1 (Monday) to 7 (Sunday), at least one.")
        if self.date_from and self.date_till and self.date_from > self.date_till:
            raise SettingsInvalid("date_from is after date_till.")
        if len(self.holidays) > MAX_HOLIDAYS:
            raise SettingsInvalid(f"there are at most {MAX_HOLIDAYS} holidays.")
        if self.start.tzinfo or self.end.tzinfo:
            raise SettingsInvalid("window times are local and carry no offset.")
        return self

    def is_open(self, at: datetime, zone: tzinfo) -> bool:
        """Whether dialling is allowed at this instant (`at` is aware)."""
        if not _FIRST <= at <= _LAST:
            return False
        local = at.astimezone(zone)
        today, clock = local.date(), local.time()
        if self.start == self.end:
            return self._day_allowed(today)
        if self.start < self.end:
            return self.start <= clock < self.end and self._day_allowed(today)
        if clock >= self.start:
            return self._day_allowed(today)
        # After midnight of a window that began the evening before: that evening's day decides.
        return clock < self.end and self._day_allowed(today - _DAY)

    def is_over(self, at: datetime, zone: tzinfo) -> bool:
        """Whether the date range has passed, so that it will never open again."""
        return self.next_opening(at, zone) is None

    def next_opening(self, at: datetime, zone: tzinfo) -> datetime | None:
        """The first instant from `at` on at which dialling is allowed; None if there is none.

        `at` itself when it is open, else exact and in UTC. A start that DST skips becomes the first instant
        after the gap; a clock that is put back into the window opens it again.
        """
        if self.is_open(at, zone):
            return at
        if at > _LAST:
            return None
        moment = max(at, _FIRST).astimezone(UTC)
        if self.date_from is not None:
            # Wherever on earth, the first day has not begun a day before it begins in UTC.
            first_day = datetime.combine(max(self.date_from, _FIRST.date()), time(0), UTC)
            moment = max(moment, first_day - _DAY)
        began = moment
        # Each holiday may take one more week's only day.
        horizon = _HORIZON + timedelta(weeks=len(self.holidays))
        while moment <= _LAST and moment - began <= horizon:
            if self.is_open(moment, zone):
                return moment
            moment = self._next_edge(moment, zone)
        return None

    def open_until(self, at: datetime, zone: tzinfo) -> datetime:
        """When a window that is open at `at` closes, in UTC: it is open at every instant before. `at` where closed.

        Looks no more than a week ahead; a window that stays open for longer is asked again.
        """
        if not self.is_open(at, zone):
            return at
        moment = at.astimezone(UTC)
        limit = min(moment + timedelta(weeks=1), _LAST)
        while moment < limit:
            moment = self._next_edge(moment, zone)
            if not self.is_open(moment, zone):
                return moment
        return limit

    def _next_edge(self, moment: datetime, zone: tzinfo) -> datetime:
        # Only four things can open or close a window: the clock strikes its start or its end, a new day, or is put
        # forward or back. So these are the only instants worth asking about.
        offset = _offset(moment, zone)
        wall = (moment + offset).replace(tzinfo=None)
        midnight = datetime.combine(wall + _DAY, time(0))
        strikes = datetime.combine(wall, self.start), datetime.combine(wall, self.end), midnight
        edge = min(strike for strike in strikes if strike > wall).replace(tzinfo=UTC) - offset
        if _offset(edge, zone) == offset:
            return edge
        # The clocks change on the way; all zones do so on a whole second of UTC.
        since = moment.replace(microsecond=0)
        seconds = range(int((edge - since).total_seconds()))
        changed = bisect_left(
            seconds, True, key=lambda n: _offset(since + timedelta(seconds=n), zone) != offset
        )
        return since + timedelta(seconds=changed)

    def _day_allowed(self, day: date) -> bool:
        return (
            day.isoweekday() in self.weekdays
            and day not in self.holidays
            and (self.date_from is None or day >= self.date_from)
            and (self.date_till is None or day <= self.date_till)
        )


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


class Schedule(Struct, frozen=True):
    """A window by several clocks at once. All of them must show a time inside it, or, with `anywhere`, one of them."""

    window: Window
    zones: tuple[tzinfo, ...]
    anywhere: bool = False

    def is_open(self, at: datetime) -> bool:
        """Whether dialling is allowed at this instant."""
        return (any if self.anywhere else all)(self.window.is_open(at, zone) for zone in self.zones)

    def open_until(self, at: datetime) -> datetime:
        """Until when it is open without a break; `at` where it is closed."""
        ends = [self.window.open_until(at, zone) for zone in self.zones]
        return max(ends) if self.anywhere else min(ends)

    def next_opening(self, at: datetime) -> datetime | None:
        """The first instant from `at` on at which dialling is allowed; None if there is none."""
        if self.anywhere:
            openings = [self.window.next_opening(at, zone) for zone in self.zones]
            return min((opens for opens in openings if opens is not None), default=None)
        first = self.window.next_opening(at, self.zones[0])
        if first is None:
            return None
        moment = first
        while moment - first <= _HORIZON + timedelta(weeks=len(self.window.holidays)):
            latest = moment
            for zone in self.zones:
                opens = self.window.next_opening(moment, zone)
                if opens is None:
                    return None
                latest = max(latest, opens)
            if latest == moment:
                return moment
            # Until then one of the clocks forbids it. Whether all of them allow it then is asked again.
            moment = latest
        return None


def anywhere(window: Window) -> Schedule:
    """When this window is open somewhere on earth."""
    return Schedule(window, _EVERYWHERE, anywhere=True)


def _quarters(first: int, last: int) -> Iterable[tzinfo]:
    return (timezone(timedelta(minutes=minutes)) for minutes in range(first * 60, last * 60 + 1, 15))


# Every offset that a clock on earth has had since 1973 is a whole number of quarters.
_EVERYWHERE = tuple(_quarters(-12, 14))

ALL_DAY = Window(start=time(0), end=time(0))

# Names that a zone database may hold besides the IANA's: this machine's own zone, and others' bookkeeping.
_NOT_IANA = frozenset({"localtime", "posixrules", "Factory"})


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of this name, or SettingsInvalid."""
    try:
        if not name or name.startswith((".", "/", "right/", "posix/")) or name in _NOT_IANA:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise SettingsInvalid(
            f"there is no time zone {name[:60]!r}; use an IANA name such as Europe/Moscow."
        ) from exc


def parse_window(text: str) -> Window:
    """`09:00-20:00` as a Window, or SettingsInvalid. `24:00` and `23:59:59` end it at midnight."""
    try:
        start, end = (part.strip() for part in text.split("-"))
        midnight = end in ("24:00", "24:00:00", "23:59:59")
        window = Window(start=time.fromisoformat(start), end=time(0) if midnight else time.fromisoformat(end))
    except ValueError as exc:
        raise SettingsInvalid(f"a window is written like 09:00-20:00, not {text[:60]!r}.") from exc
    return window.checked()
