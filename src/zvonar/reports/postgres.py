"""How are reports read from PostgreSQL? Keys from the narrow table, rows from the wide one, as JSON from there.

Sorting and skipping touch narrow rows only; the wide ones are fetched for the page that is shown, in chunks, so that
nobody holds a page in memory. Total and page are of one moment, or the pages of a busy account would not add up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from weakref import WeakValueDictionary

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Format, TransactionStatus

from zvonar.reports.columns import WORDS, Kept
from zvonar.reports.conditions import COMPUTED, NAMES, SAME, TRUE, column_of, condition, patterns, wide
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.query import InvalidFilter, Order, Query, Report, ReportBusy, ReportTooSlow
from zvonar.reports.shown import columns
from zvonar.reports.sql import Sql, joined
from zvonar.reports.writing import month_of
from zvonar.store.db import Connection, Database, StoreUnavailable

# Of the connections that reports are read over. One report uses one processor, and plans are made for its values:
# a year of a small account and a day of a big one have nothing in common.
SESSION: LiteralString = (
    "-c timezone=UTC -c default_transaction_isolation=repeatable\\ read -c default_transaction_read_only=on"
    " -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    " -c max_parallel_workers_per_gather=0 -c plan_cache_mode=force_custom_plan -c jit=off -c work_mem=32MB"
)
CONNECTIONS = 8  # of one process
AT_ONCE = 4  # reports of one account that run at once, whatever process reads them
CHUNK = 100  # rows
WHOLE = 200  # rows of a page that is small enough to be read at once
_PATIENCE = 0.05  # seconds between looks whether another report of the account has ended

# How long each statement of the transaction may take, and the zone of what is shown.
SET: LiteralString = "SELECT set_config('statement_timeout', %s, true), set_config('timezone', %s, true)"

# A place among the account's reports, held until the transaction ends, and how often the months of the period have
# changed so far. The total is counted where there is a place and the one that is remembered is of another revision.
COUNT: LiteralString = """
SELECT CASE WHEN m.free THEN m.revision END, CASE WHEN m.free AND m.revision IS DISTINCT FROM %s THEN ("""
COUNT_END: LiteralString = """) END FROM (
    SELECT coalesce((
        SELECT true FROM generate_series(1, %s) place
        WHERE pg_try_advisory_xact_lock(hashtextextended('zvonar.reports', %s * 100 + place)) LIMIT 1), false) AS free,
        (SELECT coalesce(sum(revision), 0)::bigint FROM report_revisions
         WHERE account_id = %s AND month >= %s::date AND month < %s) AS revision
    OFFSET 0
) m
"""


class _Bytes(Loader):
    """Text as it comes from the network: it only goes on to the next network."""

    format = Format.TEXT

    def load(self, data: Any) -> bytes:
        return bytes(data)


class PostgresReportStore:
    """The ReportStore that every installation has. Takes a database whose sessions are set up by SESSION."""

    def __init__(self, db: Database, *, at_once: int = AT_ONCE, remembered: int = 10_000) -> None:
        self._db = db
        self._at_once = at_once
        self._room = remembered
        self._totals: OrderedDict[tuple[Any, ...], tuple[int, int]] = OrderedDict()
        # Who waits in this process needs no look at what runs in others.
        self._places: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def report(self, query: Query) -> AsyncIterator[Report]:
        """What the query asks for; see ReportStore."""
        until = asyncio.get_running_loop().time() + query.deadline
        where = _where(query)
        statement = _among(query, page(query, where))
        try:
            async with (
                asyncio.timeout_at(until) as timeout,
                self._turn(query.account_id, until),
                self._place(query, where, until) as (connection, total),
            ):
                if query.offset >= total:
                    yield Report(total=total, rows=_nothing())
                    return
                cursor = connection.cursor()
                cursor.adapters.register_loader("text", _Bytes)
                if query.limit <= WHOLE:
                    async with connection.pipeline():
                        await cursor.execute(statement.text, statement.params)
                        await connection.execute("ROLLBACK")
                        rows = await cursor.fetchall()
                    timeout.reschedule(None)
                    yield Report(total=total, rows=_whole(rows))
                    return
                stream = cursor.stream(statement.text, statement.params, size=CHUNK)
                try:
                    # What is wrong with a statement shows before its first row.
                    first = await anext(stream, None)
                    # The reader sets the pace from here on, within the time that the statement has.
                    timeout.reschedule(None)
                    yield Report(total=total, rows=_chunks(first, stream))
                finally:
                    await stream.aclose()  # type: ignore[attr-defined]
        except TimeoutError:
            raise ReportTooSlow from None

    @asynccontextmanager
    async def _turn(self, account_id: int, until: float) -> AsyncIterator[None]:
        """Be one of the account's reports of this process."""
        places = self._places.get(account_id)
        if places is None:
            self._places[account_id] = places = asyncio.Semaphore(self._at_once)
        try:
            async with asyncio.timeout_at(until - _PATIENCE):
                await places.acquire()
        except TimeoutError:
            raise ReportBusy from None
        try:
            yield
        finally:
            places.release()

    @asynccontextmanager
    async def _place(self, query: Query, where: Sql, until: float) -> AsyncIterator[tuple[Connection, int]]:
        """A connection in a transaction, once the account may have one more; and the total."""
        loop = asyncio.get_running_loop()
        while True:
            async with self._db.connection() as connection:
                try:
                    total = await self._begin(connection, query, where, until - loop.time())
                    if total is not None:
                        yield connection, total
                        return
                except psycopg.errors.QueryCanceled:
                    raise ReportTooSlow from None
                except _BAD_PATTERNS as exc:
                    await connection.rollback()
                    field = await _culprit(connection, query)
                    if field is None:
                        raise
                    raise InvalidFilter(field) from exc
                finally:
                    if connection.info.transaction_status is not TransactionStatus.IDLE:
                        await connection.rollback()  # it has only read
            if loop.time() + _PATIENCE >= until:
                raise ReportBusy
            await asyncio.sleep(_PATIENCE)

    async def _begin(self, connection: Connection, query: Query, where: Sql, left: float) -> int | None:
        """Begin the transaction, in one message with the count; the total, or None where there is no place."""
        count = _among(query, Sql("SELECT count(*) FROM report_filters f WHERE ") + where)
        key = (count.text, *(tuple(p) if isinstance(p, list) else p for p in count.params))
        # Calls that are up come and go without a revision.
        known = None if query.ongoing else self._totals.get(key)
        place = (self._at_once, query.account_id)
        months = (query.account_id, month_of(query.since), query.until)
        statement = Sql(COUNT, (None if known is None else known[0],)) + count
        statement += Sql(COUNT_END, (*place, *months))
        async with connection.pipeline():
            await connection.execute("BEGIN")
            await connection.execute(SET, (f"{max(int(left * 1000), 1)}ms", query.zone))
            found = await (await connection.execute(statement.text, statement.params)).fetchone()
        assert found is not None
        revision, counted = found
        if revision is None:
            return None
        if counted is None:
            assert known is not None, "what is not remembered is counted"
            counted = known[1]
        self._totals[key] = (revision, counted)
        self._totals.move_to_end(key)
        if len(self._totals) > self._room:
            self._totals.popitem(last=False)
        return int(counted)


_BAD_PATTERNS = (
    psycopg.errors.InvalidRegularExpression,
    psycopg.errors.InvalidEscapeSequence,
    psycopg.errors.ProgramLimitExceeded,
)
_TRY: dict[bool, LiteralString] = {True: "SELECT 'a' ~ %s", False: "SELECT 'a' LIKE %s"}


async def _culprit(connection: Connection, query: Query) -> str | None:
    """Whose pattern the database does not understand."""
    for test in patterns(query.filter):
        try:
            await connection.execute(_TRY[test.op == "regexp"], (test.value,))
        except _BAD_PATTERNS:
            return test.field
    return None


def _where(query: Query) -> Sql:
    period = Sql(
        "f.account_id = %s AND f.start_time >= %s AND f.start_time < %s",
        (query.account_id, query.since, query.until),
    )
    if query.filter is None:
        return period
    wanted = condition(query.filter, account_id=query.account_id, zone=query.zone)
    return period if wanted == TRUE else period + Sql(" AND ") + wanted


# Sessions that are over and calls that are up are one table to whoever asks for both.
_WITH_ONGOING: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("report_filters f", "(SELECT * FROM report_filters UNION ALL SELECT * FROM ongoing_filters) f"),
    ("report_rows r", "(SELECT * FROM report_rows UNION ALL SELECT * FROM ongoing_rows) r"),
)


def _among(query: Query, statement: Sql) -> Sql:
    """The statement over the sessions that the query means."""
    text = statement.text
    if query.ongoing:
        for over, both in _WITH_ONGOING:
            text = text.replace(over, both)
    return Sql(text, statement.params)


def page(query: Query, where: Sql) -> Sql:
    """The statement that reads a page: a row of it, one text."""
    order, joins = _order(query)
    return (
        Sql("SELECT (SELECT row_to_json(x)::text FROM (SELECT ")
        + columns(query.fields, link_base=query.link_base)
        # The period again, so that other months are not even planned for.
        + Sql(
            """ FROM report_rows r WHERE r.account_id = %s AND r.start_time = k.start_time
                AND r.session_id = k.session_id AND r.start_time >= %s AND r.start_time < %s) x) FROM (""",
            (query.account_id, query.since, query.until),
        )
        + Sql("SELECT f.start_time, f.session_id FROM report_filters f")
        + joins
        + Sql(" WHERE ")
        + where
        + Sql(" ORDER BY ")
        + order
        + Sql(" LIMIT %s OFFSET %s) k", (query.limit, query.offset))
    )


# What is never null needs no word about nulls, which would keep an index from giving the order.
_ALWAYS = frozenset({"start_time", "session_id", "is_lost"})
# A dictionary is joined for the first of these keys by words; who sorts by more pays for them row by row.
_ALIASES: tuple[LiteralString, ...] = ("w1", "w2", "w3", "w4")


def _order(query: Query) -> tuple[Sql, Sql]:
    """The order of rows, total in itself, and the dictionaries that it needs."""
    keys: list[Sql] = []
    joins = Sql("")
    aliases = list(_ALIASES)
    seen: set[str] = set()  # a key that comes twice says nothing the second time
    for one in query.order:
        if one.field in seen:
            continue
        seen.add(one.field)
        if (column := _word_column(one)) is not None and aliases:
            alias = aliases.pop(0)
            on: LiteralString = " ON " + alias + ".account_id = %s AND " + alias + ".field = %s AND " + alias
            joins += Sql(
                " LEFT JOIN report_words " + alias + on + ".word_id = f." + column,
                (query.account_id, WORDS[column]),
            )
            key = Sql(alias + '.word COLLATE "C"')
        else:
            key = _key(one, query.zone)
        direction: LiteralString = " DESC" if one.descending else ""
        always = SAME.get(one.field, one.field) in _ALWAYS
        keys.append(key + Sql(direction if always else direction + " NULLS LAST"))
    keys += [Sql("f.start_time"), Sql("f.session_id")]
    return joined(", ", keys), joins


def _word_column(order: Order) -> LiteralString | None:
    """The column of a key that the narrow table knows by the code of its text."""
    if order.field in COMPUTED:
        return None
    name, column = column_of(order.field)
    return name if column.kept is Kept.word else None


def _key(order: Order, zone: str) -> Sql:
    if (computed := COMPUTED.get(order.field)) is not None:
        return Sql(computed, (zone,) if "%s" in computed else ())
    name, column = column_of(order.field)
    if column.kept is Kept.itself:
        return Sql("f." + name)
    if column.kept is Kept.word:
        return Sql(
            """(SELECT w.word FROM report_words w WHERE w.account_id = f.account_id AND w.field = %s
                AND w.word_id = f."""
            + name
            + ') COLLATE "C"',
            (WORDS[name],),
        )
    if FIELDS[order.field].kind is Kind.objects:
        member = NAMES[name]
        return Sql(
            "(SELECT string_agg(o ->> '"
            + member
            + "', ', ' ORDER BY n) FROM json_array_elements("
            + wide(name)
            + ') WITH ORDINALITY AS t (o, n)) COLLATE "C"'
        )
    return Sql(wide(name))


async def _nothing() -> AsyncIterator[list[bytes]]:
    return
    yield


async def _whole(rows: list[tuple[bytes]]) -> AsyncIterator[list[bytes]]:
    for start in range(0, len(rows), CHUNK):
        yield [row for (row,) in rows[start : start + CHUNK]]


async def _chunks(
    first: tuple[bytes] | None, rest: AsyncIterator[tuple[bytes]]
) -> AsyncIterator[list[bytes]]:
    if first is None:
        return
    chunk = [first[0]]
    try:
        async for (row,) in rest:
            chunk.append(row)
            if len(chunk) >= CHUNK:
                yield chunk
                chunk = []
    except psycopg.errors.QueryCanceled:
        raise ReportTooSlow from None
    except psycopg.OperationalError as exc:
        raise StoreUnavailable(f"({type(exc).__name__})") from None
    if chunk:
        yield chunk
