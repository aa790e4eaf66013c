"""Does a rule hold for everybody at once, and forget what it should?"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.store import limits
from zvonar.store.db import Database
from zvonar.store.limits import Rule

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
FIVE = Rule(scope="five", count=5, seconds=30)
MINUTE = Rule(scope="minute", count=3, seconds=60)
DAY = Rule(scope="day", count=4, seconds=86_400)
KEY = limits.key_hash(1, "+70001230001")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@given(pauses=st.lists(st.integers(0, 20), min_size=1, max_size=15))
@settings(max_examples=25, deadline=None)
def test_no_stretch_of_thirty_seconds_has_more_than_five(module_dsn: str, pauses: list[int]) -> None:
    async def walk() -> None:
        async with Database(module_dsn, size=2) as db:
            await db.execute("DELETE FROM rate_limits")
            at, taken = 0, list[int]()
            for pause in pauses:
                at += pause
                free = sum(at - past < FIVE.seconds for past in taken) < FIVE.count
                assert await limits.take(db, FIVE, KEY, now=after(at)) == free
                if free:
                    taken.append(at)

    asyncio.run(walk())


@pytest.mark.asyncio
async def test_a_crowd_gets_exactly_what_the_rule_gives(db: Database) -> None:
    taken = await asyncio.gather(*(limits.take(db, FIVE, KEY, now=NOW) for _ in range(20)))
    assert sum(taken) == 5
    spent = await asyncio.gather(*(limits.spend(db, (MINUTE, DAY), KEY, now=NOW) for _ in range(20)))
    assert sum(not any(budget.refused for budget in budgets) for budgets in spent) == 3


@pytest.mark.asyncio
async def test_windows_are_spent_together_or_not_at_all(db: Database) -> None:
    rules = (MINUTE, DAY)
    for n in range(1, 4):
        assert [b.used for b in await limits.spend(db, rules, KEY, now=NOW)] == [n, n]
    minute, day = await limits.spend(db, rules, KEY, now=after(59))
    assert (minute.refused, day.refused) == (True, False)
    assert (minute.used, day.used) == (3, 3)
    assert minute.until == after(60)
    minute, day = await limits.spend(db, rules, KEY, now=after(60))
    assert (minute.used, day.used) == (1, 4)
    minute, day = await limits.spend(db, rules, KEY, now=after(61))
    assert (minute.refused, day.refused) == (False, True)


@pytest.mark.asyncio
async def test_what_was_for_nothing_is_given_back_to_its_own_window_only(db: Database) -> None:
    spent = await limits.spend(db, (MINUTE, DAY), KEY, now=NOW)
    assert [b.used for b in await limits.refund(db, spent, KEY)] == [0, 0]
    spent = await limits.spend(db, (MINUTE, DAY), KEY, now=NOW)
    assert [b.used for b in spent] == [1, 1]
    await limits.spend(db, (MINUTE, DAY), KEY, now=after(100))
    await limits.refund(db, spent, KEY)
    assert [b.used for b in await limits.spend(db, (MINUTE, DAY), KEY, now=after(101))] == [2, 2]


@pytest.mark.asyncio
async def test_keys_do_not_share_and_do_not_show(db: Database) -> None:
    other = limits.key_hash(1, "+70001230002")
    for key in (KEY, other):
        assert [await limits.take(db, FIVE, key, now=NOW) for _ in range(6)] == [True] * 5 + [False]
    assert "70001230001" not in await db.value("SELECT string_agg(r::text, '') FROM rate_limits r")
    assert limits.key_hash(1, 23) != limits.key_hash(12, 3)


@pytest.mark.asyncio
async def test_what_says_nothing_any_more_is_swept(db: Database) -> None:
    await limits.take(db, FIVE, KEY, now=NOW)
    await limits.spend(db, (MINUTE,), KEY, now=NOW)
    assert await limits.sweep(db, now=after(29)) == 0
    assert await limits.sweep(db, now=after(31)) == 1
    assert await limits.sweep(db, now=after(61)) == 1
