"""Has one leg one name, everywhere?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.errors import Invalid
from zvonar.core.leg import LegId

legs = st.builds(
    LegId,
    call_id=st.integers(1, 10**18 - 1),
    attempt=st.integers(1, 10**9 - 1),
    leg=st.integers(1, 10**9 - 1),
)


@given(legs)
def test_a_leg_is_found_again_by_its_name(leg: LegId) -> None:
    assert LegId.parse(str(leg)) == leg


@given(st.text() | st.from_regex(r"\A\d{1,4}\.\d{1,2}\.\d{1,2}\Z"))
def test_a_text_is_the_one_name_of_its_leg_or_invalid(text: str) -> None:
    try:
        leg = LegId.parse(text)
    except Invalid:
        return
    assert str(leg) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.1",
        "1.1.1.1",
        "1.1.1\n",
        " 1.1.1",
        "1.1.0",
        "1.0.1",
        "0.1.1",
        "01.1.1",
        "1.1.01",
        "-1.1.1",
        "+1.1.1",
        "1_0.1.1",
        "1.1.1;2",
        "١.١.١",
        "².1.1",
        "1732273200.15",
        "9" * 5000 + ".1.1",
        "\ud800.1.1",
    ],
)
def test_a_foreign_channel_id_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        LegId.parse(text)


@given(legs, legs)
def test_legs_sort_by_call_then_attempt_then_leg(one: LegId, other: LegId) -> None:
    key = (one.call_id, one.attempt, one.leg), (other.call_id, other.attempt, other.leg)
    assert (one < other) == (key[0] < key[1])
