"""Does the PostgreSQL ReportStore find each session once, in order, however it is paged, and stop in time?"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.reports import postgres
from zvonar.reports.fields import FIELDS
from zvonar.reports.postgres import PostgresReportStore
from zvonar.reports.query import (
    Compare,
    InvalidFilter,
    JsonMatch,
    Op,
    Order,
    Query,
    ReportBusy,
    ReportTooSlow,
)
from zvonar.reports.sql import Sql
from zvonar.store.db import Connection, Database

if TYPE_CHECKING:
    from tests.reports.conftest import World

ROWS = 120


@pytest.fixture(scope="module")
def filled(world: World) -> int:
    """An account with more sessions than seconds, in three months of which one has no partition before it comes."""
    account = world.account()
    world.put(*(row(world, account, n) for n in range(ROWS)))
    other = world.account()
    world.put(*(row(world, other, n) | {"session_id": 5000 + n} for n in range(10)))
    return account


def row(world: World, account: int, n: int) -> dict[str, Any]:
    return {
        "account_id": account,
        "session_id": 1000 + n,
        "start_time": world.now - timedelta(days=20) + (n // 3) * timedelta(hours=17),
        "finish_time": world.now,
        "is_lost": n % 3 == 0,
        "direction": "out" if n % 2 else "in",
        "talk_duration": n % 7,
        "contact_phone_number": f"7900000000{n % 4}",
        "virtual_phone_number": None if n % 5 == 0 else f"7495{n % 5}",
        "sale_cost": None if n % 3 else str(n),
        "tags": [{"tag_id": n % 3 + 1, "tag_name": f"т{n % 3 + 1}"}] if n % 2 else None,
    }


ORDERS = st.lists(
    st.builds(Order, field=st.sampled_from(sorted(FIELDS)), descending=st.booleans()), max_size=6
).map(tuple)


@given(size=st.integers(1, 40), order=ORDERS)
@settings(max_examples=40, deadline=None)
def test_pages_in_any_order_and_size_hold_each_session_once(
    world: World, filled: int, size: int, order: tuple[Order, ...]
) -> None:
    total, whole = world.ask(filled, order=order)
    pages = [world.ask(filled, order=order, limit=size, offset=n) for n in range(0, total, size)]
    assert [row for _, part in pages for row in part] == whole
    assert {n for n, _ in pages} == {total} == {ROWS}
    assert len({row["id"] for row in whole}) == ROWS


def test_without_an_order_rows_come_by_start_and_then_by_id(world: World, filled: int) -> None:
    _, rows = world.ask(filled, ("start_time", "id"))
    assert [(r["start_time"], r["id"]) for r in rows] == sorted((r["start_time"], r["id"]) for r in rows)


@pytest.mark.parametrize("field", ["sale_cost", "virtual_phone_number", "tags"])
def test_what_is_null_comes_last_in_both_directions(world: World, filled: int, field: str) -> None:
    for descending in (False, True):
        _, rows = world.ask(filled, (field,), order=(Order(field=field, descending=descending),))
        shown = [None if row[field] in (None, []) else row[field] for row in rows]
        known = [value for value in shown if value is not None]
        assert shown == known + [None] * (len(shown) - len(known)), "nothing follows the nulls"
        keys = [str(value) if field == "tags" else value for value in known]
        assert keys == sorted(keys, reverse=descending)


def test_the_period_is_half_open(world: World, filled: int) -> None:
    start = world.now - timedelta(days=20)
    assert world.ask(filled, until=start)[0] == 0
    assert world.ask(filled, until=start + timedelta(seconds=1))[0] == 3


def test_beyond_the_last_page_there_is_nothing_but_the_total(world: World, filled: int) -> None:
    assert world.ask(filled, offset=ROWS) == (ROWS, [])
    assert world.ask(world.account()) == (0, [])


def test_a_total_is_counted_again_as_soon_as_the_period_has_changed(world: World) -> None:
    account = world.account()
    world.put(row(world, account, 0) | {"session_id": 9000})
    assert world.ask(account)[0] == 1
    world.put(row(world, account, 1) | {"session_id": 9001})
    assert world.ask(account)[0] == 2
    lost = Compare(field="is_lost", op=Op.eq, value=True)
    assert world.ask(account, filter=lost)[0] == 1
    world.change(account, 9000, is_lost=False)
    assert world.ask(account, filter=lost)[0] == 0


def test_an_equality_of_ids_in_an_array_reads_the_narrow_table_only(world: World, filled: int) -> None:
    exact = JsonMatch(field="tags", path="exists($[*] ? (@.tag_id == 2))", ids=(2,), exact=True)
    slow = JsonMatch(field="tags", path="exists($[*] ? (@.tag_id == 2))")
    assert world.ask(filled, filter=exact) == world.ask(filled, filter=slow)
    assert world.ask(filled, filter=exact)[0] > 0


@pytest.mark.parametrize("pattern", ["a(", "[", "((a{1,255}){1,255}){1,255}"])
def test_a_pattern_that_the_database_does_not_take_is_named(world: World, filled: int, pattern: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        world.ask(filled, filter=Compare(field="virtual_phone_number", op=Op.regexp, value=pattern))
    assert raised.value.field == "virtual_phone_number"
    assert world.ask(filled)[0] == ROWS


def test_a_report_past_its_deadline_is_cancelled_in_the_database(
    world: World, filled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute(
        "CREATE OR REPLACE FUNCTION pg_temp_slow() RETURNS boolean LANGUAGE sql VOLATILE"
        " AS 'SELECT pg_sleep(60) IS NULL'"
    )
    slow = Sql("pg_temp_slow()")

    monkeypatch.setattr(postgres, "_where", lambda _: slow)

    async def work() -> None:
        async with PostgresReportStore(world.reports).report(asked(world, filled, deadline=0.5)):
            raise AssertionError("it is not there")

    with pytest.raises(ReportTooSlow):
        world.run(work())
    running = """SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE '%%pg_temp_slow%%' AND pid <> pg_backend_pid() AND state = 'active'"""
    assert world.value(running) == 0


def asked(world: World, account: int, **others: Any) -> Query:
    return Query(
        account_id=account,
        zone="UTC",
        since=world.now - timedelta(days=365),
        until=world.now + timedelta(days=365),
        fields=("id",),
        limit=10,
        **others,
    )


def test_reports_of_one_account_beyond_the_cap_wait_and_others_do_not(world: World, filled: int) -> None:
    other = world.account()
    store = PostgresReportStore(world.reports, at_once=2)

    async def work() -> None:
        query, hasty = asked(world, filled), asked(world, filled, deadline=0.4)
        async with store.report(query), store.report(query):
            with pytest.raises(ReportBusy):
                async with store.report(hasty):
                    raise AssertionError("there is no place")
            async with store.report(asked(world, other)) as free:
                assert free.total == 0
        async with store.report(query) as again:
            assert again.total == ROWS

    world.run(work())


def test_one_page_is_one_moment_whatever_is_written_meanwhile(world: World) -> None:
    account = world.account()
    world.put(*(row(world, account, n) | {"session_id": 20_000 + n} for n in range(300)))

    async def work() -> int:
        query = asked(world, account)
        async with world.store.report(Query(**{**_fields(query), "limit": 1000})) as report:
            rows = 0
            async for chunk in report.rows:
                if rows == 0:
                    late = row(world, account, 0) | {"session_id": 30_000}
                    async with world.db.transaction() as connection:
                        await world.writer.put(connection, [late])
                rows += len(chunk)
            assert report.total == rows
            return rows

    assert world.run(work()) == 300
    assert world.ask(account)[0] == 301


def _fields(query: Query) -> dict[str, Any]:
    return {name: getattr(query, name) for name in query.__struct_fields__}


def explained(world: World, query: Query) -> str:
    """How the database would read the report."""

    async def work() -> str:
        statement, params = postgres.compiled(query, postgres._where(query), -1, 4)
        async with world.db.connection() as connection:
            cursor = psycopg.AsyncRawCursor[tuple[str]](connection)
            await cursor.execute(b"EXPLAIN " + statement, params)
            return "\n".join(line for (line,) in await cursor.fetchall())

    return world.run(work())


def test_keys_come_from_the_narrow_table_by_its_key(world: World, filled: int) -> None:
    plan = explained(world, asked(world, filled, order=(Order(field="talk_duration", descending=True),)))
    limit = plan.index("Limit")
    assert "report_rows" not in plan[limit : plan.index("SubPlan", limit)], plan
    assert "report_rows" in plan


def test_a_pattern_over_words_leaves_rows_in_the_order_of_the_index(world: World, filled: int) -> None:
    like = Compare(field="virtual_phone_number", op=Op.like, value="7495%")
    query = asked(world, filled, filter=like, order=(Order(field="start_time", descending=True),))
    page = explained(world, query).partition("Limit")[2]
    assert "hashed SubPlan" in page
    assert "Join" not in page, "a join would have to be sorted again"


def test_reports_of_one_kind_have_their_statement_in_common(world: World, filled: int) -> None:
    small = world.account()

    def statement(account: int, value: int, days: int) -> bytes:
        longer = Compare(field="talk_duration", op=Op.gt, value=value)
        query = asked(world, account, filter=longer)
        query = Query(**{**_fields(query), "offset": days, "since": world.now - timedelta(days=days)})
        return postgres.compiled(query, postgres._where(query), -1, 4)[0]

    assert statement(filled, 1, 5) is statement(small, 70_000, 200)


def test_a_plan_that_is_kept_answers_for_other_values(dsn: str, world: World, filled: int) -> None:
    small = world.account()
    world.put(*(row(world, small, n) | {"session_id": 860_000 + n} for n in range(4)))
    kept = """SELECT coalesce(sum(generic_plans), 0)::integer FROM pg_prepared_statements
        WHERE statement LIKE '%%report_filters%%'"""

    async def work() -> tuple[list[tuple[int, int]], Any]:
        found = []
        async with Database(dsn, size=1, session=postgres.SESSION) as db:
            store = PostgresReportStore(db, remembered=0)
            for account, days in ((filled, 365), (small, 365), (small, 0), (filled, 365), (filled, 0)):
                lost = Compare(field="is_lost", op=Op.eq, value=True)
                query = asked(world, account, filter=lost)
                until = world.now - timedelta(days=20) + timedelta(days=days, seconds=1)
                async with store.report(Query(**{**_fields(query), "until": until})) as report:
                    found.append((report.total, sum([len(chunk) async for chunk in report.rows])))
            return found, await db.value(kept)

    found, plans = world.run(work())
    assert found == [(40, 10), (2, 2), (1, 1), (40, 10), (1, 1)]
    assert plans >= 3


@pytest.mark.parametrize(("few", "kept"), [(3, False), (4, True)])
def test_whatever_is_asked_of_few_sessions_keeps_its_plan(
    dsn: str, world: World, monkeypatch: pytest.MonkeyPatch, few: int, kept: bool
) -> None:
    account = world.account()
    world.put(*(row(world, account, n) | {"session_id": 870_000 + few * 10 + n} for n in range(4)))
    monkeypatch.setattr(postgres, "FEW", few)
    tagged = JsonMatch(field="tags", path="exists($[*] ? (@.tag_id == 5))", ids=(5,), exact=True)
    plans = """SELECT coalesce(sum(generic_plans), 0)::integer FROM pg_prepared_statements
        WHERE statement LIKE '%%tag_ids%%'"""

    async def work() -> tuple[list[int], Any]:
        found = []
        async with Database(dsn, size=1, session=postgres.SESSION) as db:
            store = PostgresReportStore(db, remembered=0)
            for _ in range(3):
                async with store.report(asked(world, account, filter=tagged)) as report:
                    found.append(report.total)
            return found, await db.value(plans)

    found, generic = world.run(work())
    assert len(set(found)) == 1
    assert (generic > 0) == kept


def test_a_report_reads_one_moment_and_writes_nothing(world: World) -> None:
    async def work() -> tuple[Any, ...]:
        async with world.reports.transaction() as connection:
            cursor = await connection.execute(
                "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
            )
            return await cursor.fetchone() or ()

    assert world.run(work()) == ("repeatable read", "on")


def test_the_next_report_over_a_connection_has_a_zone_and_a_time_of_its_own(world: World) -> None:
    account = world.account()
    start = world.now.replace(hour=12, minute=0, second=0, microsecond=0)
    world.put(row(world, account, 0) | {"session_id": 840_000, "start_time": start})
    shown = [
        world.ask(account, ("start_time",), zone=zone, deadline=deadline)[1][0]["start_time"][11:]
        for zone, deadline in (("Asia/Tokyo", 5.0), ("UTC", 5.0), ("Asia/Tokyo", 30.0), ("Asia/Tokyo", 30.0))
    ]
    assert shown == ["21:00:00", "12:00:00", "21:00:00", "21:00:00"]
    assert world.run(world.reports.value("SHOW statement_timeout")) == "30s"


def test_a_report_that_is_given_up_leaves_no_zone_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = world.account()
    start = world.now.replace(hour=12, minute=0, second=0, microsecond=0)
    world.put(row(world, account, 0) | {"session_id": 848_500, "start_time": start})

    def shown(zone: str) -> str:
        return str(world.ask(account, ("start_time",), zone=zone, deadline=5.0)[1][0]["start_time"][11:])

    for _ in range(2):  # from the second on the plan is kept
        assert shown("UTC") == "12:00:00"
    execute = Connection.execute

    async def given_up(self: Connection, statement: Any, *rest: Any, **named: Any) -> Any:
        done = await execute(self, statement, *rest, **named)
        if statement == postgres.SET:  # the answer is there, and nobody waits for it any more
            raise asyncio.CancelledError
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "execute", given_up)
        with pytest.raises(asyncio.CancelledError):
            shown("Asia/Tokyo")
    assert shown("UTC") == "12:00:00"
