"""Does a pool hold exactly the numbers that its entries stand for?"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.pool import drawn, ends_with, holds, some, whole

entries = st.from_regex(r"\A\+[0-9]{5,7}X{0,5}\Z")
pools = st.lists(entries, max_size=4)


def numbers(entry: str) -> set[str]:
    known = entry.rstrip("X")
    wild = len(entry) - len(known)
    return {f"{known}{n:0{wild}d}" if wild else known for n in range(10**wild)}


@given(pools, st.from_regex(r"\A[0-9]{4}\Z"))
def test_a_suffix_is_held_by_a_pool_that_has_such_a_number(pool: list[str], suffix: str) -> None:
    assert ends_with(pool, suffix) == any(n.endswith(suffix) for entry in pool for n in numbers(entry))


@given(pools, st.integers())
def test_what_is_drawn_is_held(pool: list[str], seed: int) -> None:
    ending = drawn(pool, 4, random.Random(seed).randrange)
    if not pool:
        assert ending is None
    else:
        assert ending is not None
        assert len(ending) == 4
        assert ends_with(pool, ending)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [([], []), (["+70009990000", "+7000999XXXX", "+7000999000X"], ["+70009990000"])],
)
def test_whole_are_the_entries_of_one_number(pool: list[str], expected: list[str]) -> None:
    assert whole(pool) == expected


@given(pools, st.integers(1, 5))
def test_some_of_a_pool_are_numbers_that_it_holds(pool: list[str], count: int) -> None:
    told = some(pool, count)
    assert bool(told) == bool(pool)
    assert len(set(told)) == len(told) <= count or whole(pool)
    assert all(holds(pool, number) for number in told)
