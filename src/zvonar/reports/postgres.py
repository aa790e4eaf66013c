"""How are reports read from PostgreSQL? Keys from the narrow table, rows from the wide one, as JSON from there.

Sorting and skipping touch narrow rows only; the wide ones are fetched for the page that is shown, in chunks, so that
nobody holds a page in memory. Total and page are of one moment, or the pages of a busy account would not add up.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Format

from zvonar.reports.columns import WORDS, Kept
from zvonar.reports.conditions import COMPUTED, NAMES, SAME, TRUE, column_of, condition, patterns, wide
from zvonar.reports.fields import FIELDS, Kind
from zvonar.reports.query import (
    Filter,
    InvalidFilter,
    JsonMatch,
    Order,
    Query,
    Report,
    ReportBusy,
    ReportTooSlow,
    Tree,
)
from zvonar.reports.shown import columns
from zvonar.reports.sql import Sql, joined
from zvonar.reports.writing import month_of
from zvonar.store.db import Connection, Database, StoreUnavailable

# Of the connections that reports are read over. One report uses one processor, and plans are made for its values,
# unless it is one of those that SET says more of.
SESSION: LiteralString = (
    "-c timezone=UTC -c default_transaction_isolation=repeatable\\ read -c default_transaction_read_only=on"
    " -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    " -c max_parallel_workers_per_gather=0 -c plan_cache_mode=force_custom_plan -c jit=off -c work_mem=32MB"
)
CONNECTIONS = 8  # of one process
AT_ONCE = 4  # reports of one account that run at once, whatever process reads them
PLANS = 16  # that a connection keeps; one of a year's months takes a megabyte
CHUNK = 100  # rows
WHOLE = 200  # rows of a page that is small enough to be read at once
_PATIENCE = 0.05  # seconds between looks whether another report of the account has ended

# How long a report over this connection may take, the zone of what is shown, and how it is planned: of the session,
# because the next report is most often of the same.
SET: LiteralString = """
SELECT set_config('statement_timeout', %s, false), set_config('timezone', %s, false),
    set_config('plan_cache_mode', %s, false)
"""

# A report is one statement, so of one moment. First a place among the account's reports, held until the end, and how
# often the months of the period have changed so far; the total is counted where there is a place and the one that is
# remembered is of another revision. Every row of the page comes with them; without rows they come alone.
TOTAL: LiteralString = "SELECT m.revision, CASE WHEN m.free AND m.revision IS DISTINCT FROM %s THEN ("
REVISION: LiteralString = """) END, p.row FROM (
    SELECT free, CASE WHEN free THEN (SELECT coalesce(sum(revision), 0)::bigint FROM report_revisions
        WHERE account_id = %s AND month >= %s::date AND month < %s) END AS revision
    FROM (SELECT """
PLACE: LiteralString = "pg_try_advisory_xact_lock(hashtextextended('zvonar.reports', %s))"
PAGE: LiteralString = " AS free OFFSET 0) a OFFSET 0) m LEFT JOIN LATERAL ("

# Revision, none without a place; the total, where it was counted; a row of the page as JSON, none without one.
_Found: TypeAlias = tuple[int | None, int | None, bytes | None]


class _Session:
    """How a connection stands: what SET said last, and which statements it has had lately."""

    def __init__(self) -> None:
        self.set_up: tuple[str, str, str] | None = None
        self._lately: OrderedDict[bytes, None] = OrderedDict()

    def knows(self, statement: bytes) -> bool:
        """Whether it has had this one before."""
        known = statement in self._lately
        self._lately[statement] = None
        self._lately.move_to_end(statement)
        if len(self._lately) > PLANS:
            self._lately.popitem(last=False)
        return known


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
        self._sessions: WeakKeyDictionary[Connection, _Session] = WeakKeyDictionary()
        # Who waits in this process needs no look at what runs in others.
        self._places: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def report(self, query: Query) -> AsyncIterator[Report]:
        """What the query asks for; see ReportStore."""
        loop = asyncio.get_running_loop()
        until = loop.time() + query.deadline
        where = _where(query)
        total = Sql("SELECT count(*) FROM report_filters f WHERE ") + where
        key = (total.text, *(tuple(p) if isinstance(p, list) else p for p in total.params))
        # Calls that are up come and go without a revision.
        known = None if query.ongoing else self._totals.get(key)
        asked = _whole(query, where, total, known, self._at_once)
        try:
            async with asyncio.timeout_at(until) as timeout, self._turn(query.account_id, until):
                while True:
                    async with self._asking(query, asked, until - loop.time()) as (head, rows):
                        revision, counted, _ = head
                        if revision is not None:
                            found = self._remember(key, revision, counted, known)
                            # The reader sets the pace from here on, within the time that the statement has.
                            timeout.reschedule(None)
                            yield Report(total=found, rows=rows)
                            return
                    if loop.time() + _PATIENCE >= until:
                        raise ReportBusy
                    await asyncio.sleep(_PATIENCE)
        except TimeoutError:
            raise ReportTooSlow from None

    def _remember(
        self, key: tuple[Any, ...], revision: int, counted: int | None, known: tuple[int, int] | None
    ) -> int:
        """The total, now known for next time."""
        if counted is None:
            assert known is not None, "what is not remembered is counted"
            counted = known[1]
        self._totals[key] = (revision, counted)
        self._totals.move_to_end(key)
        while len(self._totals) > self._room:
            self._totals.popitem(last=False)
        return counted

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
    async def _asking(
        self, query: Query, asked: Sql, left: float
    ) -> AsyncIterator[tuple[_Found, AsyncIterator[list[bytes]]]]:
        """The first row of the statement's, and what the page has."""
        async with self._db.connection() as connection:
            try:
                cursor = psycopg.AsyncRawCursor[_Found](connection)
                cursor.adapters.register_loader("text", _Bytes)
                statement = asked.numbered()
                session = self._sessions.get(connection)
                if session is None:
                    self._sessions[connection] = session = _Session()
                    connection.prepared_max = PLANS
                plans = (
                    "force_generic_plan"
                    if session.knows(statement) and _plain(query)
                    else "force_custom_plan"
                )
                set_up = (f"{math.ceil(max(left, 0.001))}s", query.zone, plans)
                if session.set_up != set_up:
                    await connection.execute(SET, set_up)
                    session.set_up = set_up
                if query.limit <= WHOLE:
                    await cursor.execute(statement, asked.params)
                    found = await cursor.fetchall()
                    yield found[0], _page(found)
                    return
                stream = cursor.stream(statement, asked.params, size=CHUNK)
                try:
                    # What is wrong with a statement shows before its first row.
                    first = await anext(stream)
                    yield first, _chunks(first, stream)
                finally:
                    await stream.aclose()  # type: ignore[attr-defined]
            except psycopg.errors.QueryCanceled:
                raise ReportTooSlow from None
            except _BAD_PATTERNS as exc:
                field = await _culprit(connection, query)
                if field is None:
                    raise
                raise InvalidFilter(field) from exc


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


def _plain(query: Query) -> bool:
    """Whether one plan is as good as any for such a report, whatever its values, so that none has to be made each time.

    One for any values has all months in it, so it is made for what comes again only.

    It is where rows come from the period of the account or from those of a contact, which nobody's numbers change. It
    is not where ids in arrays could be looked up instead, or a dictionary has to be joined to all rows.
    """
    if query.ongoing or any(_word_column(one) is not None for one in query.order):
        return False
    return not _by_ids(query.filter)


def _by_ids(wanted: Filter | None) -> bool:
    match wanted:
        case Tree():
            return any(_by_ids(one) for one in wanted.of)
        case JsonMatch():
            return wanted.ids is not None
    return False


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


def _whole(query: Query, where: Sql, total: Sql, known: tuple[int, int] | None, at_once: int) -> Sql:
    """The statement of a report; `known`: a revision and the total that was counted then."""
    statement = Sql(TOTAL, (None if known is None else known[0],)) + total
    months = (query.account_id, month_of(query.since), query.until)
    # The first one that is free; the others are not even tried.
    places = joined(" OR ", (Sql(PLACE, (query.account_id * 100 + n,)) for n in range(1, at_once + 1)))
    statement += Sql(REVISION, months) + places + Sql(PAGE)
    return _among(query, statement + page(query, Sql("m.free AND ") + where) + Sql(") p ON true"))


def page(query: Query, where: Sql) -> Sql:
    """What reads a page: a row of it, one text."""
    order, joins = _order(query)
    return (
        Sql("SELECT (SELECT row_to_json(x)::text FROM (SELECT ")
        + columns(query.fields, link_base=query.link_base)
        # The period again, so that other months are not even planned for.
        + Sql(
            """ FROM report_rows r WHERE r.account_id = %s AND r.start_time = k.start_time
                AND r.session_id = k.session_id AND r.start_time >= %s AND r.start_time < %s) x) AS row FROM (""",
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


async def _page(found: Sequence[_Found]) -> AsyncIterator[list[bytes]]:
    for start in range(0, len(found), CHUNK):
        yield [row for _, _, row in found[start : start + CHUNK] if row is not None]


async def _chunks(first: _Found, rest: AsyncIterator[_Found]) -> AsyncIterator[list[bytes]]:
    chunk = [] if first[2] is None else [first[2]]
    try:
        async for _, _, row in rest:
            if row is not None:
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
