"""How are reports read from PostgreSQL? Keys from the narrow table, rows from the wide one, as JSON from there.

Sorting and skipping touch narrow rows only; the wide ones are fetched for the page that is shown, in chunks, so that
nobody holds a page in memory. Total and page are of one moment, or the pages of a busy account would not add up.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, LiteralString, TypeAlias
from weakref import WeakValueDictionary

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.numeric import Int8

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
from zvonar.reports.sql import Sql, joined, numbered
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
_KEPT = 4_000  # characters of a filter's condition, beyond which its statement is made each time
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
#
# What all reports say has the first numbers, each said once; behind them come the values of filter and order.
REPORT = """
SELECT m.revision, CASE WHEN m.free AND m.revision <> $1 THEN (
    SELECT count(*) FROM report_filters f WHERE {period} AND {where}) END, p.row
FROM (
    SELECT free, CASE WHEN free THEN (SELECT coalesce(sum(revision), 0)::bigint FROM report_revisions
        WHERE account_id = $2 AND month >= $5::date AND month < $4) END AS revision
    FROM (SELECT {places} AS free OFFSET 0) a OFFSET 0
) m LEFT JOIN LATERAL ({page}) p ON true
"""
PERIOD = "f.account_id = $2 AND f.start_time >= $3 AND f.start_time < $4"
# A row of the page, one text. The period again, so that other months are not even planned for.
PAGE = """
SELECT (SELECT row_to_json(x)::text FROM (SELECT {shown} FROM report_rows r WHERE r.account_id = $2
    AND r.start_time = k.start_time AND r.session_id = k.session_id
    AND r.start_time >= $3 AND r.start_time < $4) x) AS row
FROM (SELECT f.start_time, f.session_id FROM report_filters f{joins} WHERE m.free AND {period} AND {where}
    ORDER BY {order} LIMIT $6 OFFSET $7) k
"""
# One of so many.
PLACE = "pg_try_advisory_xact_lock(hashtextextended('zvonar.reports', $2 * 100 + {n}))"
_NEVER = -1  # a revision that there is not
_FIRST = 8  # of the numbers of what one report alone says

# Whether an account has so few sessions that any plan reads them fast.
SIZE = "SELECT count(*) FROM (SELECT FROM report_filters WHERE account_id = %s LIMIT %s) x"
FEW = 20_000
_SIZED = 600.0  # seconds for which that is believed
_SIZES = 10_000  # accounts of which that is known

# Revision, none without a place; the total, where it was counted; a row of the page as JSON, none without one.
_Found: TypeAlias = tuple[int | None, int | None, bytes | None]
_Asked: TypeAlias = tuple[bytes, tuple[Any, ...]]  # a statement and its parameters


class _Session:
    """How a connection stands: what SET said last, and which statements it has had lately."""

    def __init__(self, connection: Connection) -> None:
        connection.prepared_max = PLANS
        # One for all: to make a cursor takes a fifth of what it takes to ask a small report.
        self.cursor = psycopg.AsyncRawCursor[_Found](connection)
        self.cursor.adapters.register_loader("text", _Bytes)
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
        self._sessions: dict[Connection, _Session] = {}
        self._sizes: OrderedDict[int, tuple[bool, float]] = OrderedDict()  # few or many; until when
        # Who waits in this process needs no look at what runs in others.
        self._places: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def report(self, query: Query) -> AsyncIterator[Report]:
        """What the query asks for; see ReportStore."""
        loop = asyncio.get_running_loop()
        until = loop.time() + query.deadline
        where = _where(query)
        counted_for = (query.account_id, query.since, query.until, where.text)
        key = (*counted_for, *(tuple(p) if isinstance(p, list) else p for p in where.params))
        # Calls that are up come and go without a revision.
        known = None if query.ongoing else self._totals.get(key)
        asked = compiled(query, where, _NEVER if known is None else known[0], self._at_once)
        try:
            async with asyncio.timeout_at(until) as timeout:
                places = await self._place(query.account_id, until)
                try:
                    while True:
                        async with self._asking(query, asked, until - loop.time()) as (head, rows):
                            revision, counted, _ = head
                            if revision is not None:
                                lasting = None if query.ongoing else key
                                found = self._remember(lasting, revision, counted, known)
                                # The reader sets the pace from here on, within the time that the statement has.
                                timeout.reschedule(None)
                                yield Report(total=found, rows=rows)
                                return
                        if loop.time() + _PATIENCE >= until:
                            raise ReportBusy
                        await asyncio.sleep(_PATIENCE)
                finally:
                    places.release()
        except TimeoutError:
            raise ReportTooSlow from None

    def _remember(
        self, key: tuple[Any, ...] | None, revision: int, counted: int | None, known: tuple[int, int] | None
    ) -> int:
        """The total, now known for next time; without a key it is for now only."""
        if counted is None:
            assert known is not None, "what is not remembered is counted"
            counted = known[1]
        if key is None:
            return counted
        self._totals[key] = (revision, counted)
        self._totals.move_to_end(key)
        while len(self._totals) > self._room:
            self._totals.popitem(last=False)
        return counted

    def _session(self, connection: Connection) -> _Session:
        session = self._sessions.get(connection)
        if session is None:
            # Those of connections that the pool has given up are not needed any more.
            self._sessions = {one: held for one, held in self._sessions.items() if not one.closed}
            self._sessions[connection] = session = _Session(connection)
        return session

    async def _few(self, connection: Connection, account_id: int) -> bool:
        """Whether the account has few sessions, asked now and then."""
        now = asyncio.get_running_loop().time()
        few, believed = self._sizes.get(account_id, (False, now))
        if believed <= now:
            cursor = await connection.execute(SIZE, (account_id, FEW + 1))
            (counted,) = await cursor.fetchone() or (0,)
            few = counted <= FEW
            self._sizes[account_id] = (few, now + _SIZED)
            self._sizes.move_to_end(account_id)
            if len(self._sizes) > _SIZES:
                self._sizes.popitem(last=False)
        return few

    async def _place(self, account_id: int, until: float) -> asyncio.Semaphore:
        """Be one of the account's reports of this process, until what comes back is released."""
        places = self._places.get(account_id)
        if places is None:
            self._places[account_id] = places = asyncio.Semaphore(self._at_once)
        if not places.locked():
            await places.acquire()  # waits for nobody
            return places
        try:
            async with asyncio.timeout_at(until - _PATIENCE):
                await places.acquire()
        except TimeoutError:
            raise ReportBusy from None
        return places

    @asynccontextmanager
    async def _asking(
        self, query: Query, asked: _Asked, left: float
    ) -> AsyncIterator[tuple[_Found, AsyncIterator[list[bytes]]]]:
        """The first row of the statement's, and what the page has."""
        async with self._db.connection() as connection:
            try:
                statement, params = asked
                session = self._session(connection)
                cursor = session.cursor
                again = session.knows(statement)
                whatever = again and (_plain(query) or await self._few(connection, query.account_id))
                plans = "force_generic_plan" if whatever else "force_custom_plan"
                set_up = (f"{math.ceil(max(left, 0.001))}s", query.zone, plans)
                if session.set_up != set_up:
                    session.set_up = None  # whoever gives up meanwhile does not know which it is
                    await connection.execute(SET, set_up)
                    session.set_up = set_up
                if query.limit <= WHOLE:
                    await cursor.execute(statement, params)
                    found = await cursor.fetchall()
                    yield found[0], _page(found)
                    return
                stream = cursor.stream(statement, params, size=CHUNK)
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
    """What the filter says of `f`; the period comes beside it."""
    if query.filter is None:
        return TRUE
    return condition(query.filter, account_id=query.account_id, zone=query.zone)


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


def compiled(query: Query, where: Sql, known: int, at_once: int) -> _Asked:
    """The statement of a report; `known`: the revision of which the total is known."""
    order, joins = _order(query.order, query.account_id, query.zone)
    shown = columns(query.fields, link_base=query.link_base)
    # Whoever asks by the hundred does not fill the memory.
    made = _statement if len(where.text) <= _KEPT else _statement.__wrapped__
    statement = made(where.text, joins.text, order.text, shown.text, query.ongoing, at_once)
    # Of one type whatever their size, or there would be plans for each.
    account, limit, offset = Int8(query.account_id), Int8(query.limit), Int8(query.offset)
    period = (query.since, query.until, month_of(query.since))
    own = (*where.params, *joins.params, *order.params, *shown.params)
    return statement, (Int8(known), account, *period, limit, offset, *own)


@lru_cache(maxsize=512)
def _statement(where: str, joins: str, order: str, shown: str, ongoing: bool, at_once: int) -> bytes:
    """The text, for the driver as PostgreSQL takes it. Reports of one kind have it in common."""
    where, after = numbered(where, _FIRST)
    joins, after = numbered(joins, after)
    order, after = numbered(order, after)
    shown, after = numbered(shown, after)
    page = PAGE.format(shown=shown, joins=joins, period=PERIOD, where=where, order=order)
    # The first place that is free; the others are not even tried.
    places = " OR ".join(PLACE.format(n=n) for n in range(1, at_once + 1))
    text = REPORT.format(period=PERIOD, where=where, places=places, page=page)
    if ongoing:
        for over, both in _WITH_ONGOING:
            text = text.replace(over, both)
    return text.encode()


# What is never null needs no word about nulls, which would keep an index from giving the order.
_ALWAYS = frozenset({"start_time", "session_id", "is_lost"})
# A dictionary is joined for the first of these keys by words; who sorts by more pays for them row by row.
_ALIASES: tuple[LiteralString, ...] = ("w1", "w2", "w3", "w4")


@lru_cache(maxsize=1024)
def _order(order: tuple[Order, ...], account_id: int, zone: str) -> tuple[Sql, Sql]:
    """The order of rows, total in itself, and the dictionaries that it needs."""
    keys: list[Sql] = []
    joins = Sql("")
    aliases = list(_ALIASES)
    seen: set[str] = set()  # a key that comes twice says nothing the second time
    for one in order:
        if one.field in seen:
            continue
        seen.add(one.field)
        if (column := _word_column(one)) is not None and aliases:
            alias = aliases.pop(0)
            on: LiteralString = " ON " + alias + ".account_id = %s AND " + alias + ".field = %s AND " + alias
            joins += Sql(
                " LEFT JOIN report_words " + alias + on + ".word_id = f." + column,
                (account_id, WORDS[column]),
            )
            key = Sql(alias + '.word COLLATE "C"')
        else:
            key = _key(one, zone)
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
