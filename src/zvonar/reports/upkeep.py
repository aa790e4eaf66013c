"""How does the report's store stay quick and small? Closed months are put in order, old ones are dropped.

A month that is over is rewritten in the order of accounts, which halves what most reports of it read. Nothing of this
waits for a lock, because everybody else would wait behind it: what is not free now is tried again later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import LiteralString, TypeVar

import psycopg
import structlog
from msgspec import Struct

from zvonar.reports.visits import SWEEP
from zvonar.store.db import Connection, Database, StoreUnavailable
from zvonar.store.sessions import ensure_months

log = structlog.get_logger(__name__)

T = TypeVar("T")

SETTLED = timedelta(days=1)  # after its end a month has all that comes late in numbers
_LOOK = 600.0  # seconds between looks
_TRIES = 200  # for a lock
_AGAIN = 0.5  # seconds between them
TABLES: tuple[LiteralString, ...] = ("report_filters", "report_rows")

# Months that have a partition.
MONTHS = """
SELECT to_date(right(inhrelid::regclass::text, 6), 'YYYYMM') AS month,
    EXISTS (SELECT FROM report_months m WHERE m.month = to_date(right(inhrelid::regclass::text, 6), 'YYYYMM'))
        AS rewritten
FROM pg_inherits WHERE inhparent = 'report_rows'::regclass AND inhrelid::regclass::text ~ '_[0-9]{6}$'
ORDER BY 1
"""

# One worker at a time; the lock ends with the connection.
ALONE = "SELECT pg_try_advisory_lock(hashtextextended('zvonar.reports.upkeep', 0))"

BEGIN = "SELECT begin_report_rewrite(%s, %s)"
COPY = "SELECT copy_report_month(%s, %s)"
FINISH = "SELECT finish_report_rewrite(%s, %s)"
WRITTEN = "INSERT INTO report_months (month, rewritten_at) VALUES (%s, %s) ON CONFLICT DO NOTHING"
DROP = "SELECT drop_report_month(%s)"

# What belonged to months that are gone.
FORGET_STARTS = "DELETE FROM session_starts WHERE start_time < %(before)s"
FORGET_WORDS = "DELETE FROM report_words WHERE seen < %(before)s::timestamptz::date"


class Month(Struct, frozen=True, kw_only=True):
    """A month that there is."""

    month: date
    rewritten: bool


async def upkeep(
    db: Database, *, keep_months: int, stop: asyncio.Event, clock: Callable[[], datetime]
) -> None:
    """Until `stop`. `keep_months`: how many months are kept beside the current one; 0 is all."""
    while not stop.is_set():
        try:
            await once(db, keep_months=keep_months, now=clock())
        except (StoreUnavailable, psycopg.OperationalError) as exc:
            log.warning("reports.upkeep_waiting", reason=type(exc).__name__)
        try:
            async with asyncio.timeout(_LOOK):
                await stop.wait()
        except TimeoutError:
            pass


async def once(db: Database, *, keep_months: int, now: datetime) -> None:
    """Make months that will be needed, put in order those that are over, drop those that are too old."""
    await ensure_months(db, now=now)
    await db.execute(SWEEP, {"before": now - timedelta(days=1)})
    connection = await db.connect()
    async with connection:
        (alone,) = await (await connection.execute(ALONE)).fetchone() or (False,)
        if not alone:
            return
        if keep_months:
            await _drop(db, connection, before=_months_before(now, keep_months))
        for month in await db.rows(Month, MONTHS):
            if not month.rewritten and _end(month.month) + SETTLED <= now:
                await rewrite(connection, month.month, now=now)


async def rewrite(connection: Connection, month: date, *, now: datetime) -> None:
    """Put a month's rows into the order of accounts."""
    for table in TABLES:
        await _patiently(lambda table=table: connection.execute(BEGIN, (table, month)))  # type: ignore[misc]
        await connection.execute(COPY, (table, month))
        await _patiently(lambda table=table: connection.execute(FINISH, (table, month)))  # type: ignore[misc]
    await connection.execute(WRITTEN, (month, now))
    log.info("reports.rewritten", month=month.isoformat())


async def _drop(db: Database, connection: Connection, *, before: date) -> None:
    gone = [one.month for one in await db.rows(Month, MONTHS) if one.month < before]
    for month in gone:
        await _patiently(lambda month=month: connection.execute(DROP, (month,)))  # type: ignore[misc]
        log.info("reports.dropped", month=month.isoformat())
    if gone:
        then = {"before": datetime(before.year, before.month, 1, tzinfo=UTC)}
        await connection.execute(FORGET_STARTS, then)
        await connection.execute(FORGET_WORDS, then)


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_TRIES):
        try:
            return await work()
        except psycopg.errors.LockNotAvailable:
            await asyncio.sleep(_AGAIN)
    return await work()


def _end(month: date) -> datetime:
    after = (month + timedelta(days=32)).replace(day=1)
    return datetime(after.year, after.month, 1, tzinfo=UTC)


def _months_before(now: datetime, count: int) -> date:
    first = now.astimezone(UTC).date().replace(day=1)
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
    return first
