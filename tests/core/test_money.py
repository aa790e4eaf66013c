"""Is what we hold always enough, and what we charge always right?"""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.errors import NoTariff, SettingsInvalid
from zvonar.core.money import MAX_PRICE, Rate, Tariff, rounded, tariff

prices = st.decimals(0, MAX_PRICE, places=4)
rates = st.builds(
    Rate,
    prefix=st.from_regex(r"\A[0-9]{0,4}\Z"),
    per_minute=prices,
    connection_fee=prices,
    first_interval=st.integers(1, 300),
    step=st.integers(1, 300),
)
durations = st.floats(0, 7200)


@given(rate=rates, limit=st.integers(1, 7200), share=st.floats(0, 1))
def test_the_hold_covers_every_leg_within_its_time(rate: Rate, limit: int, share: float) -> None:
    assert rate.charge(limit * share) <= rate.worst_case(limit)


@given(rate=rates)
def test_the_hold_of_no_time_covers_the_shortest_leg(rate: Rate) -> None:
    assert rate.worst_case(0) == rate.charge(0.001) >= rate.connection_fee


@given(rate=rates, one=durations, other=durations)
def test_a_longer_leg_never_costs_less(rate: Rate, one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert rate.charge(shorter) <= rate.charge(longer)


@given(rate=rates, seconds=st.floats(0.001, 7200))
def test_billed_time_is_whole_steps_past_the_first_interval(rate: Rate, seconds: float) -> None:
    billed = rate.billed_seconds(seconds)
    assert billed >= seconds
    assert billed >= rate.first_interval
    assert (billed - rate.first_interval) % rate.step == 0
    # and not a step too much
    assert billed == rate.first_interval or billed - rate.step < seconds


@given(rate=rates, seconds=st.floats(max_value=0, allow_nan=False))
def test_a_leg_without_talk_is_free_even_of_its_fee(rate: Rate, seconds: float) -> None:
    assert rate.charge(seconds) == 0


@given(rate=rates, seconds=durations)
def test_a_charge_is_stored_exactly(rate: Rate, seconds: float) -> None:
    charge = rate.charge(seconds)
    assert charge == rounded(charge) >= 0


@pytest.mark.parametrize(
    ("amount", "stored"),
    [
        ("0.00005", "0.0001"),
        ("0.00004999", "0.0000"),
        ("0.00015", "0.0002"),  # half-even would make it 0.0002 too …
        ("0.00025", "0.0003"),  # … and this 0.0002
        ("-0.00005", "-0.0001"),
    ],
)
def test_half_a_unit_is_rounded_up(amount: str, stored: str) -> None:
    assert rounded(Decimal(amount)) == Decimal(stored)


@pytest.mark.parametrize(
    ("first_interval", "step", "seconds", "billed", "cost"),
    [
        (1, 1, 0, 0, "0"),
        (1, 1, 0.2, 1, "0.5300"),
        (1, 1, 1, 1, "0.5300"),
        (1, 1, 1.01, 2, "0.5600"),
        (1, 1, 60, 60, "2.3000"),
        (60, 60, 1, 60, "2.3000"),
        (60, 60, 60, 60, "2.3000"),
        (60, 60, 60.5, 120, "4.1000"),
        (30, 6, 1, 30, "1.4000"),
        (30, 6, 31, 36, "1.5800"),
        (30, 6, 36, 36, "1.5800"),
        (30, 6, 37, 42, "1.7600"),
    ],
)
def test_charge_is_fee_plus_billed_time(
    first_interval: int, step: int, seconds: float, billed: int, cost: str
) -> None:
    rate = Rate(
        prefix="7",
        per_minute=Decimal("1.8"),
        connection_fee=Decimal("0.5"),
        first_interval=first_interval,
        step=step,
    )
    assert rate.billed_seconds(seconds) == billed
    assert rate.charge(seconds) == Decimal(cost)


def test_a_third_of_a_unit_is_rounded_once_at_the_end() -> None:
    rate = Rate(prefix="", per_minute=Decimal("0.0010"))
    assert rate.charge(1) == Decimal("0.0000")
    assert rate.charge(3) == Decimal("0.0001")  # 0.00005, half-up


def _tariff(*prefixes: str) -> Tariff:
    return tariff(1, "test", [Rate(prefix=prefix, per_minute=Decimal(1)) for prefix in prefixes])


@pytest.mark.parametrize(
    ("phone", "prefix"),
    [("+79161234567", "7916"), ("+79261234567", "7"), ("+77011234567", "77"), ("+491711234567", "")],
)
def test_the_longest_prefix_prices_a_number(phone: str, prefix: str) -> None:
    assert _tariff("", "7", "77", "7916").rate_for(phone).prefix == prefix


@given(
    prefixes=st.sets(st.from_regex(r"\A[0-3]{0,4}\Z"), max_size=20),
    phone=st.from_regex(r"\A\+[0-3]{5,9}\Z"),
)
def test_no_longer_prefix_was_overlooked(prefixes: set[str], phone: str) -> None:
    fitting = [prefix for prefix in prefixes if phone[1:].startswith(prefix)]
    if fitting:
        assert _tariff(*prefixes).rate_for(phone).prefix == max(fitting, key=len)
    else:
        with pytest.raises(NoTariff):
            _tariff(*prefixes).rate_for(phone)


@pytest.mark.parametrize(
    "rate",
    [
        Rate(prefix="", per_minute=Decimal("-0.01")),
        Rate(prefix="", per_minute=Decimal("NaN")),
        Rate(prefix="", per_minute=Decimal("sNaN")),
        Rate(prefix="", per_minute=Decimal("Infinity")),
        Rate(prefix="", per_minute=Decimal("1e400")),
        Rate(prefix="", per_minute=Decimal("0.00001")),  # the store would silently round it
        Rate(prefix="", per_minute=Decimal(1), connection_fee=Decimal(-1)),
        Rate(prefix="", per_minute=Decimal(1), first_interval=0),
        Rate(prefix="", per_minute=Decimal(1), step=0),
        Rate(prefix="+7", per_minute=Decimal(1)),
        Rate(prefix="٧", per_minute=Decimal(1)),
    ],
)
def test_a_rate_without_sense_is_refused(rate: Rate) -> None:
    with pytest.raises(SettingsInvalid):
        rate.checked()


def test_two_prices_for_one_prefix_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="'7'"):
        _tariff("7", "", "7")
