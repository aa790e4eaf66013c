"""Are closed months rewritten without anybody noticing, and old ones forgotten?"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.reports import upkeep
from zvonar.reports.writing import Change

if TYPE_CHECKING:
    from tests.reports.conftest import World

MAY = datetime(2025, 5, 10, tzinfo=UTC)


def rows(world: World, account: int, first: int, count: int, at: datetime) -> list[dict[str, Any]]:
    return [
        {
            "account_id": account,
            "session_id": first + n,
            "start_time": at + timedelta(minutes=n),
            "is_lost": False,
            "contact_phone_number": "79000000000",
            "contact_full_name": f"Иванов {first + n}",
        }
        for n in range(count)
    ]


def order(world: World, table: str) -> list[int]:
    """Accounts in the order in which their rows lie."""
    return list(world.value(f"SELECT array_agg(account_id ORDER BY ctid) FROM {table}_202505"))


def test_a_closed_month_is_rewritten_in_the_order_of_accounts(world: World) -> None:
    one, other = world.account(), world.account()
    for n in range(10):
        world.put(*rows(world, other, 40_000 + n, 1, MAY + timedelta(hours=n)))
        world.put(*rows(world, one, 41_000 + n, 1, MAY + timedelta(hours=n)))
    before = world.ask(one, ("id", "start_time", "contact_full_name"))
    assert order(world, "report_filters") != sorted(order(world, "report_filters"))
    world.run(upkeep.once(world.db, keep_months=0, now=world.now))
    for table in upkeep.TABLES:
        assert order(world, table) == sorted(order(world, table))
    assert world.ask(one, ("id", "start_time", "contact_full_name")) == before
    assert world.value("SELECT count(*) FROM report_months WHERE month = '2025-05-01'") == 1
    leftovers = "SELECT count(*) FROM pg_class WHERE relname ~ 'report_.*_(new|changed)$'"
    assert world.value(leftovers) == 0
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = %(table)s"
    for table in upkeep.TABLES:
        of_month = world.value(indexes, {"table": f"{table}_202505"})
        assert of_month == world.value(indexes, {"table": table})


def test_what_changes_while_a_month_is_rewritten_is_not_lost(world: World) -> None:
    account = world.account()
    april = datetime(2025, 4, 10, tzinfo=UTC)
    world.put(*rows(world, account, 50_000, 20, april))

    async def work() -> None:
        connection = await world.db.connect()
        async with connection:
            for table in upkeep.TABLES:
                await connection.execute(upkeep.BEGIN, (table, april.date().replace(day=1)))
                await connection.execute(upkeep.COPY, (table, april.date().replace(day=1)))
            change = Change(account_id=account, session_id=50_003, patch=lambda _: {"utm_source": "новый"})
            async with world.db.transaction() as writing:
                await world.writer.change(writing, [change])
            async with world.db.transaction() as writing:
                await world.writer.put(writing, rows(world, account, 50_100, 1, april))
            for table in upkeep.TABLES:
                await connection.execute(upkeep.FINISH, (table, april.date().replace(day=1)))

    world.run(work())
    total, found = world.ask(account, ("id", "utm_source"))
    assert total == len(found) == 21
    assert {row["id"]: row["utm_source"] for row in found}[50_003] == "новый"


def test_a_rewrite_waits_for_a_reader_and_holds_nobody_up(world: World) -> None:
    account = world.account()
    march = datetime(2025, 3, 10, tzinfo=UTC)
    world.put(*rows(world, account, 60_000, 20, march))
    again = upkeep._AGAIN
    upkeep._AGAIN = 0.02

    async def work() -> None:
        reader = await world.reports.connect()
        async with reader, reader.transaction():
            await reader.execute("SELECT count(*) FROM report_filters")
            connection = await world.db.connect()
            async with connection:
                month = date(2025, 3, 1)
                rewriting = asyncio.create_task(upkeep.rewrite(connection, month, now=world.now))
                for _ in range(5):
                    async with world.db.transaction() as writing:
                        change = Change(
                            account_id=account, session_id=60_001, patch=lambda _: {"utm_source": "x"}
                        )
                        assert await world.writer.change(writing, [change]) == {60_001}
                assert not rewriting.done()
                await reader.execute("COMMIT")
                await asyncio.wait_for(rewriting, 90)

    try:
        world.run(work())
    finally:
        upkeep._AGAIN = again
    assert world.ask(account)[0] == 20


def test_old_months_are_dropped_with_all_that_belonged_to_them(world: World) -> None:
    account = world.account()
    world.put(*rows(world, account, 70_000, 3, datetime(2024, 1, 31, 23, 30, tzinfo=UTC)))
    world.put(*rows(world, account, 70_100, 2, world.now))
    assert world.ask(account)[0] == 5
    world.run(upkeep.once(world.db, keep_months=34, now=world.now))
    assert world.ask(account)[0] == 5, "23:30 is still January, the month before is dropped"
    world.run(upkeep.once(world.db, keep_months=33, now=world.now))
    total, found = world.ask(account, ("contact_full_name",))
    assert (total, len(found)) == (2, 2)
    assert world.value("SELECT count(*) FROM session_starts WHERE account_id = %(a)s", {"a": account}) == 2
    words = "SELECT count(*) FROM report_words WHERE account_id = %(a)s AND word LIKE 'Иванов 700%%'"
    assert world.value(words, {"a": account}) == 0
    assert world.value("SELECT to_regclass('report_rows_202401')") is None


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (datetime(2026, 1, 31, tzinfo=UTC), date(2025, 11, 1)),
        (datetime(2026, 3, 1, tzinfo=UTC), date(2026, 1, 1)),
    ],
)
def test_months_are_kept_beside_the_current_one(now: datetime, first: date) -> None:
    assert upkeep._months_before(now, 2) == first
