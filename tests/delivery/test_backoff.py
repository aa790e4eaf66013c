"""When is a failed delivery tried again?"""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.delivery.backoff import Backoff

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
