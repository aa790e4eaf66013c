"""Does the PostgreSQL ReportStore find each session once, in order, however it is paged?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.reports.postgres import PostgresReportStore, keys_statement
from zvonar.reports.query import Column, Order, Page, Query, ReportStore, Session
from zvonar.store import sessions
from zvonar.store.db import Database

START = datetime(2026, 10, 30, tzinfo=UTC)
END = START + timedelta(days=40)
ROWS = 120
# More sessions than seconds, in three months of which one has no partition of its own.
INSERT = """
WITH made AS (
    INSERT INTO sessions (account_id, session_id, start_time, finish_time, direction, is_lost, disposition,
        script_result, contact_phone, own_phone, country, wait_seconds, talk_seconds, total_seconds)
    SELECT 1 + n %% 2, n, %(start)s::timestamptz + (n / 3) * interval '17 hours', %(start)s, 'out', n %% 3 = 0,
        CASE WHEN n %% 3 = 0 THEN 'busy' ELSE 'answered' END, CASE WHEN n %% 3 = 0 THEN 'none' ELSE 'choice' END,
        '+70000000000', CASE WHEN n %% 5 > 0 THEN '+7' || n %% 5 END, 'RU', 1, 2, 3
    FROM generate_series(1, %(rows)s) n
    RETURNING account_id, session_id, start_time
)
INSERT INTO session_details SELECT account_id, session_id, start_time, '{"campaign_name": "c"}' FROM made
WHERE session_id %% 7 > 0
"""


@pytest.fixture(scope="module")
def store(dsn: str, runner: asyncio.Runner) -> Iterator[ReportStore]:
    db = Database(dsn)
    runner.run(db.__aenter__())
    runner.run(sessions.ensure_months(db, now=START))
    runner.run(db.execute(INSERT, {"start": START, "rows": ROWS}))
    yield PostgresReportStore(db)
    runner.run(db.__aexit__())


def asked(
    *,
    account_id: int = 1,
    limit: int = ROWS,
    offset: int = 0,
    order: tuple[Order, ...] = (),
    until: datetime = END,
) -> Query:
    return Query(account_id=account_id, since=START, until=until, order=order, limit=limit, offset=offset)


def page(runner: asyncio.Runner, store: ReportStore, query: Query) -> Page:
    return runner.run(asyncio.wait_for(store.page(query), 30))


ORDERS = st.lists(
    st.builds(
        Order,
        column=st.sampled_from(Column),
        descending=st.booleans(),
        ranks=st.none() | st.just({"busy/none": "b", "answered/choice": "a", "+71": "z"}),
    ),
    max_size=4,
).map(tuple)


@given(size=st.integers(1, 40), order=ORDERS)
@settings(max_examples=25, deadline=None)
def test_pages_in_any_order_and_size_hold_each_session_once(
    runner: asyncio.Runner, store: ReportStore, size: int, order: tuple[Order, ...]
) -> None:
    whole = page(runner, store, asked(order=order))
    pages = [
        page(runner, store, asked(order=order, limit=size, offset=n)) for n in range(0, whole.total, size)
    ]
    assert [row for part in pages for row in part.rows] == whole.rows
    assert {part.total for part in pages} == {whole.total} == {ROWS // 2}
    assert len({row.session_id for row in whole.rows}) == ROWS // 2


def test_without_an_order_rows_come_by_start_and_then_by_id(
    runner: asyncio.Runner, store: ReportStore
) -> None:
    rows = page(runner, store, asked()).rows
    assert rows == sorted(rows, key=lambda row: (row.start_time, row.session_id))
    assert {row.account_id for row in rows} == {1}


def test_ranks_decide_where_they_are_given(runner: asyncio.Runner, store: ReportStore) -> None:
    ranks = {"busy/none": "b", "answered/choice": "a"}
    rows = page(runner, store, asked(order=(Order(column=Column.outcome, ranks=ranks),))).rows
    assert [row.disposition for row in rows] == sorted(row.disposition for row in rows)
    backwards = (Order(column=Column.outcome, ranks=ranks, descending=True), Order(column=Column.own_phone))
    rows = page(runner, store, asked(order=backwards)).rows
    assert [row.disposition for row in rows] == sorted((row.disposition for row in rows), reverse=True)
    busy = [row.own_phone or "~" for row in rows if row.disposition == "busy"]
    assert busy == sorted(busy), "a session without a number of ours comes last"


def test_the_period_is_half_open(runner: asyncio.Runner, store: ReportStore) -> None:
    first = page(runner, store, asked()).rows[0]
    assert page(runner, store, asked(until=first.start_time)).total == 0
    assert page(runner, store, asked(until=first.start_time + timedelta(microseconds=1))).rows[0] == first


def test_beyond_the_last_page_there_is_nothing_but_the_total(
    runner: asyncio.Runner, store: ReportStore
) -> None:
    assert page(runner, store, asked(offset=ROWS)) == Page(total=ROWS // 2, rows=[])
    assert page(runner, store, asked(account_id=3)) == Page(total=0, rows=[])


def test_a_session_without_details_is_shown(runner: asyncio.Runner, store: ReportStore) -> None:
    rows = page(runner, store, asked()).rows
    bare = [row for row in rows if row.session_id % 7 == 0]
    assert bare
    assert all(isinstance(row, Session) and row.details == {} for row in bare)
    assert all(row.details == {"campaign_name": "c"} for row in rows if row.session_id % 7)


def test_keys_come_from_the_narrow_table_by_its_key(dsn: str, store: ReportStore) -> None:
    statement, ranks = keys_statement(())
    query = asked(limit=10)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        params = {name: getattr(query, name) for name in ("account_id", "since", "until", "limit", "offset")}
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + statement, {**params, **ranks}))
    assert "session_details" not in plan
    assert "Sort" not in plan.replace("Sort Key", ""), plan
