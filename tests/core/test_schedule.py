"""Is dialling open exactly when the subscriber's clock says so, and is the next opening the first?"""

from datetime import UTC, date, datetime, time, timedelta
from time import perf_counter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zvonar.core.errors import SettingsInvalid
from zvonar.core.schedule import ALL_DAY, Window, parse_window, zone_of

from .worlds import any_instants, instants, windows

BERLIN, NEW_YORK, MOSCOW = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Europe/Moscow"))
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

zones = st.sampled_from(
    [
        "UTC",
        "Europe/Moscow",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",  # +5:45
        "Australia/Lord_Howe",  # DST of half an hour
        "Pacific/Chatham",  # +12:45, DST
        "Pacific/Kiritimati",  # +14
        "Pacific/Apia",  # had no 30 December 2011
        "Africa/Casablanca",  # DST the other way round, in Ramadan
        "Africa/Cairo",  # DST begins at midnight: the day starts at one
        "America/Havana",  # the hour after midnight comes twice
        "America/St_Johns",  # -3:30
        "Antarctica/Troll",  # DST of two hours
    ]
).map(ZoneInfo)
# Where the laws are most likely to break: the hours around a change of clocks.
changes = st.sampled_from(
    [
        datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin, forward
        datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin, back
        datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York, forward
        datetime(2026, 11, 1, 6, tzinfo=UTC),  # New York, back
        datetime(2026, 11, 1, 5, tzinfo=UTC),  # Havana, back, over midnight's hour
        datetime(2026, 4, 23, 22, tzinfo=UTC),  # Cairo, forward, over midnight
        datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia, a whole day
    ]
)
near_changes = st.builds(lambda at, minutes: at + minutes * MINUTE, changes, st.integers(-2880, 300))


def wall_clock_opens(window: Window, at: datetime, zone: ZoneInfo) -> bool:
    """The law in other words: the wall clock lies in the interval of an allowed day."""
    wall = at.astimezone(zone).replace(tzinfo=None)
    for day in (wall.date(), wall.date() - DAY):
        if window.start == window.end:
            since, until = datetime.combine(day, time(0)), datetime.combine(day + DAY, time(0))
        else:
            since = datetime.combine(day, window.start)
            until = datetime.combine(day + DAY if window.end < window.start else day, window.end)
        allowed = (
            day.isoweekday() in window.weekdays
            and day not in window.holidays
            and (window.date_from or date.min) <= day <= (window.date_till or date.max)
        )
        if allowed and since <= wall < until:
            return True
    return False


@given(window=windows, at=instants | near_changes, zone=zones)
def test_open_agrees_with_the_wall_clock(window: Window, at: datetime, zone: ZoneInfo) -> None:
    assert window.is_open(at, zone) == wall_clock_opens(window, at, zone)


@settings(max_examples=250, deadline=None)
@given(window=windows, at=instants | near_changes, zone=zones)
@example(window=Window(start=time(2, 30)), at=datetime(2026, 10, 25, 1, 5, tzinfo=UTC), zone=BERLIN)
@example(
    window=Window(start=time(1), end=time(2, 30)), at=datetime(2026, 10, 25, 0, 45, tzinfo=UTC), zone=BERLIN
)
@example(
    window=Window(start=time(2, 15), end=time(2, 45), weekdays=(7,)),
    at=datetime(2026, 3, 22, 12, tzinfo=UTC),
    zone=BERLIN,
)
@example(
    window=Window(weekdays=(5,)), at=datetime(2011, 12, 24, 9, tzinfo=UTC), zone=ZoneInfo("Pacific/Apia")
)
def test_next_opening_is_open_and_no_earlier_minute_is(window: Window, at: datetime, zone: ZoneInfo) -> None:
    opening = window.next_opening(at, zone)
    if opening is None:
        # It may start years from now or never; then no minute of the next month or of the range is open.
        until = at + 5 * 7 * DAY
    else:
        assert opening >= at
        assert window.is_open(opening, zone)
        assert opening == at or not window.is_open(opening - timedelta(microseconds=1), zone)
        until = opening
    minute = max(at, until - 16 * DAY)  # before that only the date range keeps it closed
    assert not window.is_open(at, zone) or opening == at
    step = MINUTE if until - minute < 3 * DAY else 7 * MINUTE
    while minute < until:
        assert not window.is_open(minute, zone)
        minute += step


@given(window=windows, at=instants | near_changes, zone=zones, later=st.timedeltas(timedelta(0), 9 * DAY))
def test_next_opening_never_goes_back(window: Window, at: datetime, zone: ZoneInfo, later: timedelta) -> None:
    opening = window.next_opening(at, zone)
    reopening = window.next_opening(at + later, zone)
    if opening is None:
        assert reopening is None
    elif at + later <= opening:
        assert reopening == opening
    else:
        assert reopening is None or reopening >= at + later


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "zone", "at", "opening"),
    [
        # plain days: 2026-03-02 is a Monday
        (Window(), MOSCOW, "2026-03-02T05:59:59", "2026-03-02T06:00"),
        (Window(), MOSCOW, "2026-03-02T06:00", "2026-03-02T06:00"),
        (Window(), MOSCOW, "2026-03-02T16:59:59", "2026-03-02T16:59:59"),
        (Window(), MOSCOW, "2026-03-02T17:00", "2026-03-03T06:00"),
        (Window(weekdays=(1,)), MOSCOW, "2026-03-02T17:00", "2026-03-09T06:00"),
        # over midnight: the evening's day decides for the morning after
        (Window(start=time(22), end=time(6), weekdays=(5,)), MOSCOW, "2026-03-07T02:59", "2026-03-07T02:59"),
        (Window(start=time(22), end=time(6), weekdays=(5,)), MOSCOW, "2026-03-07T03:00", "2026-03-13T19:00"),
        (Window(start=time(22), end=time(6), weekdays=(6,)), MOSCOW, "2026-03-07T02:59", "2026-03-07T19:00"),
        # equal ends: the whole calendar day, wherever they lie
        (Window(start=time(9), end=time(9), weekdays=(6,)), MOSCOW, "2026-03-06T20:59", "2026-03-06T21:00"),
        (Window(start=time(9), end=time(9), weekdays=(6,)), MOSCOW, "2026-03-07T20:59", "2026-03-07T20:59"),
        (Window(start=time(9), end=time(9), weekdays=(6,)), MOSCOW, "2026-03-07T21:00", "2026-03-13T21:00"),
        # dates: both ends included, in the zone's days
        (Window(date_from=date(2030, 1, 1)), MOSCOW, "2026-03-02T12:00", "2030-01-01T06:00"),
        (Window(date_till=date(2026, 3, 2)), MOSCOW, "2026-03-02T16:59", "2026-03-02T16:59"),
        (Window(date_till=date(2026, 3, 2)), MOSCOW, "2026-03-02T17:00", None),
        (
            Window(start=time(22), end=time(6), date_till=date(2026, 3, 2)),
            MOSCOW,
            "2026-03-03T02:59",
            "2026-03-03T02:59",
        ),
        (
            Window(date_from=date(2026, 3, 3), date_till=date(2026, 3, 4), weekdays=(1,)),
            MOSCOW,
            "2026-03-02T20:00",
            None,
        ),
        # gaps: 02:00-03:00 does not exist in Berlin on 29 March, nor in New York on 8 March
        (Window(start=time(2, 30)), BERLIN, "2026-03-28T23:30", "2026-03-29T01:00"),
        (Window(start=time(2, 30)), NEW_YORK, "2026-03-08T06:00", "2026-03-08T07:00"),
        (Window(start=time(2, 15), end=time(2, 45)), BERLIN, "2026-03-28T23:30", "2026-03-30T00:15"),
        (
            Window(start=time(2, 15), end=time(2, 45), weekdays=(7,)),
            BERLIN,
            "2026-03-22T12:00",
            "2026-04-05T00:15",
        ),
        (ALL_DAY, ZoneInfo("Africa/Cairo"), "2026-04-23T22:00", "2026-04-23T22:00"),
        (
            Window(start=time(0), end=time(0), weekdays=(5,)),
            ZoneInfo("Africa/Cairo"),
            "2026-04-23T12:00",
            "2026-04-23T22:00",
        ),
        # overlaps: 02:00-03:00 comes twice in Berlin on 25 October, 01:00-02:00 in New York on 1 November
        (Window(start=time(2, 30)), BERLIN, "2026-10-24T23:00", "2026-10-25T00:30"),
        (Window(start=time(2, 30)), BERLIN, "2026-10-25T01:05", "2026-10-25T01:30"),
        (Window(start=time(1), end=time(2, 30)), BERLIN, "2026-10-25T00:45", "2026-10-25T01:00"),
        (Window(start=time(1), end=time(1, 30)), NEW_YORK, "2026-11-01T05:45", "2026-11-01T06:00"),
        # a week without its Friday
        (
            Window(start=time(0), end=time(0), weekdays=(5,)),
            ZoneInfo("Pacific/Apia"),
            "2011-12-25T00:00",
            "2012-01-05T10:00",
        ),
    ],
)
def test_next_opening_of_concrete_days(window: Window, zone: ZoneInfo, at: str, opening: str | None) -> None:
    expected = None if opening is None else _utc(opening)
    assert window.next_opening(_utc(at), zone) == expected
    assert window.is_over(_utc(at), zone) == (expected is None)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, MOSCOW, ZoneInfo("Pacific/Kiritimati")])
def test_a_simulated_year_of_openings_takes_milliseconds(zone: ZoneInfo) -> None:
    window = Window(weekdays=(1, 2, 3, 4, 5))
    at, till, openings = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), 0
    began = perf_counter()
    while (opening := window.next_opening(at, zone)) is not None and opening < till:
        openings += 1
        at = opening + timedelta(hours=11)  # to its close: no window of these spans a change of clocks
    took = perf_counter() - began
    assert openings in (261, 262)
    assert took < 0.25  # some 10 ms on a quiet machine


@given(window=windows, at=any_instants, zone=zones)
@example(window=ALL_DAY, at=datetime.min.replace(tzinfo=UTC), zone=NEW_YORK)
@example(window=ALL_DAY, at=datetime.max.replace(tzinfo=UTC), zone=MOSCOW)
@example(window=Window(date_from=date.max), at=datetime(2026, 1, 1, tzinfo=UTC), zone=MOSCOW)
@example(window=Window(date_from=date.min), at=datetime.min.replace(tzinfo=UTC), zone=NEW_YORK)
@example(window=Window(date_till=date.min), at=datetime.max.replace(tzinfo=UTC), zone=NEW_YORK)
@example(
    window=Window(start=time(22), end=time(6), date_till=date.max),
    at=datetime(9999, 12, 27, 23, 59, tzinfo=UTC),
    zone=ZoneInfo("Pacific/Kiritimati"),
)
def test_the_ends_of_the_calendar_are_closed_and_never_overflow(
    window: Window, at: datetime, zone: ZoneInfo
) -> None:
    opening = window.next_opening(at, zone)
    if opening is None:
        assert not window.is_open(at, zone)
    else:
        assert opening >= at
        assert window.is_open(opening, zone)


def test_forever_may_be_written_as_the_last_day() -> None:
    window = Window(date_from=date.min, date_till=date.max).checked()
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert window.next_opening(at, MOSCOW) == at


def test_next_opening_takes_instants_of_any_zone() -> None:
    at = datetime(2026, 3, 2, 5, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert Window().next_opening(at, NEW_YORK) == at.astimezone(UTC)  # there the afternoon before
    assert Window().next_opening(at, MOSCOW) == datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "window",
    [
        Window(weekdays=()),
        Window(weekdays=(0,)),
        Window(weekdays=(1, 8)),
        Window(date_from=date(2026, 1, 2), date_till=date(2026, 1, 1)),
        Window(start=time(9, tzinfo=UTC)),
        Window(end=time(9, tzinfo=UTC)),
    ],
)
def test_a_window_without_sense_is_refused(window: Window) -> None:
    with pytest.raises(SettingsInvalid):
        window.checked()


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("09:00-20:00", time(9), time(20)),
        (" 9:00 - 20:00 ", None, None),
        ("09:00 - 20:00", time(9), time(20)),
        ("22:30-06:00", time(22, 30), time(6)),
        ("00:00-24:00", time(0), time(0)),
        ("09:00-23:59:59", time(9), time(0)),
        ("00:00-00:00", time(0), time(0)),
        ("09:00", None, None),
        ("09:00-12:00-20:00", None, None),
        ("24:00-09:00", None, None),
        ("09:00-25:00", None, None),
        ("09:00+03:00", None, None),
        ("09:00Z-20:00", None, None),
        ("٠٩:٠٠-20:00", None, None),
        ("", None, None),
        ("\ud800-\0", None, None),
    ],
)
def test_a_written_window_is_understood_or_refused(text: str, start: time | None, end: time | None) -> None:
    if start is None or end is None:
        with pytest.raises(SettingsInvalid):
            parse_window(text)
    else:
        assert parse_window(text) == Window(start=start, end=end)


@given(st.text() | st.from_regex(r"\A[0-9:+Z. -]{3,20}\Z"))
def test_any_text_is_a_window_or_refused(text: str) -> None:
    try:
        window = parse_window(text)
    except SettingsInvalid:
        return
    assert window.checked() is window


@pytest.mark.parametrize("name", ["Europe/Moscow", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_iana_names_are_zones(name: str) -> None:
    assert zone_of(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Moscow",
        "Europe",
        "Europe/",
        "+03:00",
        "../../etc/passwd",
        "/etc/localtime",
        "localtime",  # this machine's zone, not the campaign's
        "right/Europe/Moscow",  # counts leap seconds
        "Europe/Moscow\0",
        "\ud800",
        "x" * 10_000,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        zone_of(name)
    assert len(str(refusal.value)) < 250


@given(st.text() | st.from_regex(r"\A[A-Za-z./_-]{1,30}\Z"))
def test_any_text_is_a_zone_or_refused(text: str) -> None:
    try:
        zone = zone_of(text)
    except SettingsInvalid:
        return
    assert zone.key == text
