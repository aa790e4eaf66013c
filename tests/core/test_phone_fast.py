"""Does a number ever mean something else because the quick library was asked first?"""

import random

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zvonar.core import phone, phone_fast
from zvonar.core.errors import DestinationRefused, PhoneInvalid

HOMES = ["RU", "KZ", "BY", "UA"]


def read(written: str, country: str) -> phone.Phone | type[Exception]:
    try:
        return phone.parse(written, country=country, trial=True)
    except (PhoneInvalid, DestinationRefused) as exc:
        return type(exc)


def compare(written: list[str], country: str = "") -> int:
    """Read these with both libraries and with the reference alone; how many the quick one affirmed."""
    quick = [read(one, country) for one in written]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(phone_fast, "_port", lambda: None)
        for one, said in zip(written, quick, strict=True):
            assert read(one, country) == said, one
    return sum(phone_fast.valid(one, None) is not None for one in written)


@pytest.mark.parametrize(
    ("code", "ranges", "length"), [("7", 10**5, 10), ("380", 10**4, 9), ("375", 10**4, 9)]
)
def test_every_range_of_the_plans_that_are_asked_for(code: str, ranges: int, length: int) -> None:
    known = random.Random(code)
    digits = len(str(ranges - 1))
    numbers = [
        f"+{code}{first:0{digits}d}{known.randrange(10 ** (length - digits)):0{length - digits}d}"
        for first in range(ranges)
    ]
    assert compare(numbers) > ranges / 100  # it is of use


@pytest.mark.parametrize("country", HOMES)
@pytest.mark.parametrize("length", range(4, 13))
def test_numbers_of_any_length_as_they_are_written_at_home(country: str, length: int) -> None:
    known = random.Random(f"{country}{length}")
    bare = [f"{known.randrange(10**length):0{length}d}" for _ in range(500)]
    compare([*bare, *(f"{first}{one}" for first in ("8", "7", "80", "380") for one in bare)], country)


def test_other_plans_are_not_asked_for() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        number = phonenumbers.example_number(region)
        if number is not None and number.country_code not in phone_fast.COMPARED:
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert phone_fast.valid(e164, None) is None


@given(
    written=st.from_regex(r"\A(\+?(7|8|375|380|)|00|810)[0-9]{3,12}\Z"),
    country=st.sampled_from([*HOMES, "US", "DE", "IN", ""]),
)
@example(written="864100000000", country="RU")
@example(written="+79300090497", country="")
@settings(max_examples=1500, deadline=None)
def test_whatever_is_written_it_means_the_same_without_the_quick_library(written: str, country: str) -> None:
    compare([written], country)
