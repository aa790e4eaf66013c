"""Is nobody ever dialled while his own clock stands outside the window? Every zone there is, over both DST edges."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.core.control import Clock
from zvonar.core.errors import SettingsInvalid
from zvonar.core.schedule import Schedule, Window, anywhere, zone_of
from zvonar.core.zones import possible_zones, zones_for

from .test_schedule import near_changes, wall_clock_opens, zones
from .worlds import NOW, instants, windows

MOSCOW = ZoneInfo("Europe/Moscow")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def _iana() -> list[str]:
    found = []
    for name in sorted(available_timezones()):
        try:
            zone_of(name)
        except SettingsInvalid:
            continue
        found.append(name)
    return found


IANA = _iana()
WINDOWS = [
    Window(start=time(9), end=time(20)),
    Window(start=time(1, 30), end=time(2, 30)),  # where clocks are put forward and back
    Window(
        start=time(23, 30), end=time(0, 45), weekdays=(6, 7)
    ),  # over midnight, on the days of most changes
    Window(start=time(0), end=time(0), holidays=(date(2026, 3, 29), date(2026, 10, 25))),
]


def changes_of(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """When this zone's clocks are put forward or back: first by day, then to the minute."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    while moment.year == year:
        if moment.astimezone(zone).utcoffset() != (moment + DAY).astimezone(zone).utcoffset():
            yield next(
                moment + minutes * MINUTE
                for minutes in range(1, 1441)
                if (moment + minutes * MINUTE).astimezone(zone).utcoffset()
                != moment.astimezone(zone).utcoffset()
            )
        moment += DAY


def test_every_iana_zone_is_known_here() -> None:
    assert len(IANA) > 500
    assert set(available_timezones()) - set(IANA) <= {"localtime", "posixrules", "Factory"}


def dialled(schedule: Schedule, since: datetime, till: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A dialer's day in no time: the stretches during which it dials, as it finds them out."""
    moment = since
    while moment < till:
        opens = schedule.next_opening(moment)
        if opens is None or opens >= till:
            return
        closes = schedule.open_until(opens)
        assert closes > opens
        yield opens, min(closes, till)
        moment = closes


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: f"{window.start:%H%M}-{window.end:%H%M}")
def test_no_zone_is_dialled_outside_the_window_over_both_of_its_clock_changes(window: Window) -> None:
    seen = 0
    for name in IANA:
        zone = ZoneInfo(name)
        # Zones that change no clocks are looked at over a time at which others do.
        edges = list(changes_of(zone, 2026)) or [datetime(2026, 3, 29, 1, tzinfo=UTC)]
        for edge in edges:
            since, till = edge - timedelta(hours=30), edge + timedelta(hours=30)
            stretches = list(dialled(Schedule(window, (zone,)), since, till))
            # Asked of the wall clock, every ten minutes and at the very edges of each stretch.
            instants_ = {since + minutes * MINUTE for minutes in range(0, 3600, 10)}
            for opens, closes in stretches:
                instants_ |= {
                    opens,
                    closes,
                    opens - MINUTE / 60,
                    closes - MINUTE / 60,
                    edge,
                    edge - MINUTE / 60,
                }
            for at in instants_:
                if since <= at < till:
                    seen += 1
                    dials = any(opens <= at < closes for opens, closes in stretches)
                    assert dials == wall_clock_opens(window, at, zone), (name, at)
    assert seen > 100_000


@settings(max_examples=200, deadline=None)
@given(window=windows, at=instants | near_changes, some=st.lists(zones, min_size=1, max_size=4))
def test_several_clocks_are_open_when_all_are_and_the_next_opening_is_the_first(
    window: Window, at: datetime, some: list[ZoneInfo]
) -> None:
    schedule = Schedule(window, tuple(some))
    assert schedule.is_open(at) == all(wall_clock_opens(window, at, zone) for zone in some)
    until = schedule.open_until(at)
    assert (until > at) == schedule.is_open(at)
    for part in (0.0, 0.3, 0.7, 0.999):
        between = at + (until - at) * part
        assert not until > at or all(wall_clock_opens(window, between, zone) for zone in some)
    opens = schedule.next_opening(at)
    if opens is None:
        assert not any(schedule.is_open(at + timedelta(hours=hours)) for hours in range(24 * 7))
        return
    assert schedule.is_open(opens)
    assert opens == at or not schedule.is_open(opens - timedelta(microseconds=1)) or opens - at < MINUTE
    for part in (0.0, 0.2, 0.5, 0.9):
        between = at + (opens - at) * part
        assert between == opens or not schedule.is_open(between)


@settings(max_examples=100, deadline=None)
@given(window=windows, at=instants, name=st.sampled_from(IANA))
def test_a_campaign_that_is_closed_everywhere_is_closed_in_each_zone(
    window: Window, at: datetime, name: str
) -> None:
    everywhere = anywhere(window)
    if wall_clock_opens(window, at, ZoneInfo(name)):
        assert everywhere.is_open(at)
        assert everywhere.next_opening(at) == at
    opens = everywhere.next_opening(at)
    here = window.next_opening(at, ZoneInfo(name))
    assert here is None or (opens is not None and opens <= here)


def asked(e164: str, clock: Clock, contact: str | None = None) -> set[str]:
    return {str(zone) for zone in zones_for(e164, contact=contact, clock=clock, home=MOSCOW, at=NOW)}


@pytest.mark.parametrize(
    ("e164", "zone"),
    [
        ("+73432112233", "Asia/Yekaterinburg"),  # of one area
        ("+74232112233", "Asia/Vladivostok"),
        ("+77012345678", "Asia/Almaty"),  # a mobile of a country whose zones show the same time
        ("+12125551234", "America/New_York"),
        ("+79161234567", "Europe/Moscow"),  # anywhere in eleven zones: the account's
        ("+70000001001", "Europe/Moscow"),  # of the town
        ("+87812345678", "Europe/Moscow"),  # of no country
    ],
)
def test_a_callee_s_zone_is_the_plan_s_where_it_is_one_else_the_account_s(e164: str, zone: str) -> None:
    assert asked(e164, Clock.callee) == {zone}
    assert asked(e164, Clock.campaign) == {"Europe/Moscow"}
    # The contact's own comes before both.
    assert (
        asked(e164, Clock.callee, "Asia/Omsk") == asked(e164, Clock.strictest, "Asia/Omsk") == {"Asia/Omsk"}
    )
    assert asked(e164, Clock.campaign, "Asia/Omsk") == {"Europe/Moscow"}


def test_a_zone_that_nobody_knows_is_as_good_as_none() -> None:
    assert asked("+73432112233", Clock.callee, "Atlantis/Capital") == {"Asia/Yekaterinburg"}


def test_the_strictest_of_all_possible_zones_is_all_of_the_country_s() -> None:
    offsets = {NOW.astimezone(ZoneInfo(zone)).utcoffset() for zone in asked("+79161234567", Clock.strictest)}
    assert offsets == {timedelta(hours=hours) for hours in range(2, 13)}
    assert asked("+73432112233", Clock.strictest) == {"Asia/Yekaterinburg"}
    # From Kaliningrad to Kamchatka only one hour is inside a window of eleven.
    zones_ = zones_for("+79161234567", contact=None, clock=Clock.strictest, home=MOSCOW, at=NOW)
    schedule = Schedule(Window(start=time(9), end=time(20)), zones_)
    (stretch,) = dialled(schedule, NOW.replace(hour=0), NOW.replace(hour=0) + DAY)
    assert stretch == (NOW.replace(hour=7), NOW.replace(hour=8))


def test_a_plan_that_countries_share_says_only_the_zones_of_the_number_s_own() -> None:
    assert "Europe/Moscow" not in possible_zones("+77012345678")
    assert "Asia/Almaty" not in possible_zones("+79161234567")
    assert possible_zones("no number") == ()
