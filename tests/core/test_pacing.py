"""Are there ever more placements than the limit allows, or fewer than it would?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.pacing import Pacer

speeds = st.floats(0.05, 500)
bursts = st.integers(1, 20)
starts = st.sampled_from([0.0, 1e3, 1e9])  # clocks that have run for a moment or for thirty years
gaps = st.lists(st.floats(0, 3), min_size=1, max_size=80)


@given(per_second=speeds, burst=bursts, start=starts, gaps=gaps)
def test_no_interval_holds_more_than_burst_and_rate(
    per_second: float, burst: int, start: float, gaps: list[float]
) -> None:
    pacer, now, placed = Pacer(per_second=per_second, burst=burst), start, []
    for gap in gaps:
        now += gap / per_second
        while pacer.take(now):
            placed.append(now)
    for first, since in enumerate(placed):
        for last, until in enumerate(placed[first:], first):
            assert last - first + 1 <= burst + per_second * (until - since + 1e-6) + 1e-6


@given(per_second=speeds, burst=bursts, start=starts, placements=st.integers(1, 60))
def test_who_waits_the_delay_may_place_and_nobody_waits_too_long(
    per_second: float, burst: int, start: float, placements: int
) -> None:
    pacer, now = Pacer(per_second=per_second, burst=burst), start
    for _ in range(placements):
        now += pacer.delay(now)
        assert pacer.take(now)
    expected = max(0, placements - burst) / per_second
    assert now - start == pytest.approx(expected, abs=1e-4)


@given(per_second=speeds, burst=bursts)
def test_after_a_silence_exactly_the_burst_goes_at_once(per_second: float, burst: int) -> None:
    pacer = Pacer(per_second=per_second, burst=burst)
    for now in (0.0, 1e6):
        assert [pacer.take(now) for _ in range(burst + 1)] == [True] * burst + [False]


@given(per_second=speeds, burst=bursts, now=starts)
def test_asking_takes_nothing_and_a_refusal_costs_nothing(per_second: float, burst: int, now: float) -> None:
    pacer = Pacer(per_second=per_second, burst=burst)
    while pacer.take(now):
        pass
    delay = pacer.delay(now)
    assert delay > 0
    assert not pacer.take(now)
    assert pacer.delay(now) == delay


@pytest.mark.parametrize("per_second", [0.0, -1.0])
def test_no_rate_is_no_limit(per_second: float) -> None:
    pacer = Pacer(per_second=per_second)
    assert all(pacer.take(0.0) for _ in range(1000))


@given(per_second=speeds, burst=bursts, now=starts, together=st.integers(1, 20), placed=st.integers(0, 30))
def test_after_the_delay_for_several_they_go_at_once_and_not_sooner(
    per_second: float, burst: int, now: float, together: int, placed: int
) -> None:
    pacer = Pacer(per_second=per_second, burst=burst)
    for _ in range(placed):
        now += pacer.delay(now)
        assert pacer.take(now)
    together = min(together, burst)
    delay = pacer.delay(now, together=together)
    sooner = Pacer(per_second=per_second, burst=burst, slot=pacer.slot)
    assert [pacer.take(now + delay) for _ in range(together)] == [True] * together
    if delay > 1e-3:
        assert False in [sooner.take(now + delay * 0.9) for _ in range(together)]
