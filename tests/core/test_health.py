"""Does a breaker trip exactly when too much of the latest attempts failed, and name the calls?"""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.control import Breaker, Cap, checked_caps, parse_caps
from zvonar.core.errors import SettingsInvalid
from zvonar.core.health import MAX_NAMED, Health
from zvonar.core.retry import rule_name

from .worlds import NOW, outcome, outcomes


def test_a_trip_says_how_many_of_how_many_failed_how_and_in_which_calls() -> None:
    health, breaker = Health(), Breaker(above=Decimal(50), at_least=4, window=60)
    said = ["busy", "congestion", "answered/choice", "failed", "congestion"]
    trips = [
        health.heard(breaker, 100 + n, outcome(name), at=NOW + timedelta(seconds=n))
        for n, name in enumerate(said)
    ]
    assert trips[:4] == [None] * 4  # half is not more than half
    trip = trips[4]
    assert trip is not None
    assert (trip.failed, trip.of, trip.window) == (3, 5, 60)
    assert trip.outcomes == {"congestion": 2, "failed": 1}
    assert trip.calls == [104, 103, 101]
    # It begins anew: whoever starts the campaign again has looked at it.
    assert health.heard(breaker, 1, outcome("failed"), at=NOW + timedelta(seconds=6)) is None


def test_what_lies_before_the_window_does_not_count() -> None:
    health, breaker = Health(), Breaker(above=Decimal(0), at_least=3, window=10)
    for n in range(20):
        assert health.heard(breaker, n, outcome("failed"), at=NOW + timedelta(seconds=5 * n)) is None


def test_no_more_calls_are_named_than_are_of_use() -> None:
    health, breaker = Health(), Breaker(above=Decimal(99), at_least=500)
    trips = [health.heard(breaker, n, outcome("failed"), at=NOW) for n in range(500)]
    assert trips[-1] is not None
    assert trips[-1].calls == list(range(499, 499 - MAX_NAMED, -1))


@given(
    above=st.decimals(0, 99, places=1),
    window=st.integers(1, 100),
    at_least=st.integers(1, 12),
    seen=st.lists(st.tuples(outcomes, st.integers(0, 40)), max_size=60),
)
def test_it_trips_exactly_when_the_share_is_exceeded(
    above: Decimal, window: int, at_least: int, seen: list[tuple[object, int]]
) -> None:
    breaker = Breaker(above=above, window=window, at_least=at_least).checked()
    health, now = Health(), NOW
    kept: list[tuple[object, object]] = []
    for n, (ended, after) in enumerate(seen):
        now += timedelta(seconds=after)
        kept = [(at, bad) for at, bad in kept if at > now - timedelta(seconds=window)]  # type: ignore[operator]
        bad = rule_name(ended) in breaker.outcomes  # type: ignore[arg-type]
        kept.append((now, bad))
        failed = sum(1 for _, was_bad in kept if was_bad)
        expected = bad and len(kept) >= at_least and failed * 100 > above * len(kept)
        trip = health.heard(breaker, n, ended, at=now)  # type: ignore[arg-type]
        assert (trip is not None) == expected
        if trip is not None:
            assert (trip.failed, trip.of) == (failed, len(kept))
            kept = []


@pytest.mark.parametrize(
    "breaker",
    [
        Breaker(above=Decimal(100)),
        Breaker(above=Decimal(-1)),
        Breaker(above=Decimal("NaN")),
        Breaker(window=0),
        Breaker(at_least=0),
        Breaker(outcomes=()),
        Breaker(outcomes=("fialed",)),
    ],
)
def test_a_breaker_without_sense_is_refused(breaker: Breaker) -> None:
    with pytest.raises(SettingsInvalid):
        breaker.checked()


def test_caps_are_read_as_they_are_written() -> None:
    assert parse_caps("1/1d, 2/7d,3/90s,4/2h,5/60") == tuple(
        Cap(attempts=attempts, seconds=seconds)
        for attempts, seconds in [(1, 86400), (2, 604800), (3, 90), (4, 7200), (5, 60)]
    )
    assert parse_caps(" ") == ()


@pytest.mark.parametrize(
    "text", ["1", "1/", "/1d", "1/1y", "0/1d", "1/0d", "1/93d", "1001/1d", "-1/1d", "1/1d;2/7d"]
)
def test_caps_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid):
        parse_caps(text)


def test_there_are_at_most_eight_caps() -> None:
    with pytest.raises(SettingsInvalid):
        checked_caps((Cap(attempts=1, seconds=60),) * 9)
