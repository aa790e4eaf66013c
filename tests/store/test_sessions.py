"""Is there a month for every session?"""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from zvonar.store import sessions

pytestmark = pytest.mark.asyncio
World = Any  # conftest's


async def months(world: World) -> list[str]:
    found = await world.all(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'report_rows'::regclass"
    )
    return sorted(name for (name,) in found if name != "report_rows_other")


@pytest.mark.parametrize(
    ("now", "made"),
    [
        (datetime(2026, 12, 5, tzinfo=UTC), ["report_rows_202612", "report_rows_202701"]),
        (datetime(2027, 1, 31, 23, 59, tzinfo=UTC), ["report_rows_202701", "report_rows_202702"]),
        (
            datetime(2027, 3, 1, 1, tzinfo=timezone(timedelta(hours=3))),
            ["report_rows_202702", "report_rows_202703"],
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
    assert {"report_rows_203006", "report_rows_203007"} <= set(await months(world))
