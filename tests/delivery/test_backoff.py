"""When is a failed delivery tried again?"""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.delivery.backoff import Backoff, asked_pause

NOW = datetime(2025, 11, 22, 12, tzinfo=UTC)
PAUSES = (5, 30, 120, 600, 1800, 7200, 18000, 36000, 36000)


@pytest.mark.parametrize(("tries", "pause"), list(enumerate(PAUSES, start=1)))
def test_each_failure_waits_longer(tries: int, pause: int) -> None:
    assert Backoff().next_at(tries, now=NOW, roll=0.5) == NOW + timedelta(seconds=pause)


def test_after_the_last_pause_it_is_dead() -> None:
    assert Backoff().next_at(len(PAUSES), now=NOW, roll=0.5) is not None
    assert Backoff().next_at(len(PAUSES) + 1, now=NOW, roll=0.5) is None


@given(tries=st.integers(1, len(PAUSES)), roll=st.floats(0, 1))
def test_jitter_is_at_most_a_tenth(tries: int, roll: float) -> None:
    next_at = Backoff().next_at(tries, now=NOW, roll=roll)
    assert next_at is not None
    assert 0.9 * PAUSES[tries - 1] <= (next_at - NOW).total_seconds() + 1e-6
    assert (next_at - NOW).total_seconds() - 1e-6 <= 1.1 * PAUSES[tries - 1]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 120 ", 120),
        ("0", 1),
        ("-5", None),
        ("9" * 40, 86_400),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Sat, 22 Nov 2025 12:05:00 GMT", 300),
        ("Saturday, 22-Nov-25 12:05:00 GMT", 300),
        ("Sat Nov 22 12:05:00 2025", 300),
        ("Sat, 22 Nov 2025 11:00:00 GMT", 1),
        ("Fri, 22 Nov 2125 12:00:00 GMT", 86_400),
        ("Sat, 99 Nov 2025 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_reason(header: str | None, seconds: float | None) -> None:
    assert asked_pause(header, now=NOW) == seconds


@given(asked=st.floats(1, 86_400), tries=st.integers(1, len(PAUSES)), roll=st.floats(0, 1))
def test_a_receiver_that_asks_for_time_is_not_tried_before(asked: float, tries: int, roll: float) -> None:
    next_at = Backoff().next_at(tries, now=NOW, roll=roll, asked=asked)
    assert next_at is not None
    pause = (next_at - NOW).total_seconds()
    assert pause >= asked - 1e-6
    if tries <= 3 or asked >= PAUSES[tries - 1]:
        assert pause <= asked * 1.1 + 1e-6
    else:
        assert 0.9 * PAUSES[tries - 1] - 1e-6 <= pause


def test_haste_does_not_use_up_the_tries() -> None:
    """A receiver that always wants to be tried in a second is tried for a day all the same."""
    at = NOW
    for tries in range(1, len(PAUSES) + 1):
        next_at = Backoff().next_at(tries, now=at, roll=0.5, asked=1.0)
        assert next_at is not None
        at = next_at
    assert at - NOW > timedelta(hours=27)
