"""Is there a month for every session?"""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from zvonar.store import sessions

pytestmark = pytest.mark.asyncio
World = Any  # conftest's

WHERE = "SELECT tableoid::regclass::text, count(*) FROM {} GROUP BY 1 ORDER BY 1"


async def months(world: World) -> list[str]:
    found = await world.all(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sessions'::regclass"
    )
    return sorted(name for (name,) in found if name != "sessions_other")


@pytest.mark.parametrize(
    ("now", "made"),
    [
        (datetime(2026, 12, 5, tzinfo=UTC), ["sessions_202612", "sessions_202701"]),
        (datetime(2027, 1, 31, 23, 59, tzinfo=UTC), ["sessions_202701", "sessions_202702"]),
        (
            datetime(2027, 3, 1, 1, tzinfo=timezone(timedelta(hours=3))),
            ["sessions_202702", "sessions_202703"],
        ),
    ],
)
async def test_this_month_and_the_next_are_made_by_utc(world: World, now: datetime, made: list[str]) -> None:
    before = await months(world)
    await sessions.ensure_months(world.db, now=now)
    await sessions.ensure_months(world.db, now=now)
    assert [month for month in await months(world) if month not in before] == made


async def test_months_are_made_once_by_many(world: World) -> None:
    now = datetime(2030, 6, 15, tzinfo=UTC)
    await asyncio.gather(*(sessions.ensure_months(world.db, now=now) for _ in range(8)))
    assert {"sessions_203006", "sessions_203007"} <= set(await months(world))


async def test_session_lies_in_the_month_in_which_it_started(world: World) -> None:
    world.now = datetime(2025, 12, 31, 23, 59, 50, tzinfo=UTC)
    await sessions.ensure_months(world.db, now=world.now)
    await world.rung(await world.placed(await world.leased()), seconds=30)
    await world.rung(await world.placed(await world.leased()), seconds=30)
    for table in ("sessions", "session_details"):
        assert await world.all(WHERE.format(table)) == [(f"{table}_202512", 1), (f"{table}_202601", 1)]
    await world.check_laws()


async def test_session_of_a_month_that_nobody_made_is_kept_and_moves_there_when_it_is(world: World) -> None:
    world.now = datetime(2031, 5, 5, tzinfo=UTC)
    await world.rung(await world.placed(await world.leased()), seconds=30)
    for table in ("sessions", "session_details"):
        assert await world.all(WHERE.format(table)) == [(f"{table}_other", 1)]
    await world.check_laws()
    await sessions.ensure_months(world.db, now=world.now)
    for table in ("sessions", "session_details"):
        assert await world.all(WHERE.format(table)) == [(f"{table}_203105", 1)]
    await world.check_laws()
