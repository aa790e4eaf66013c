"""How late is the report while 500 sessions a second end, 500 change and reports run?

Sessions end as `end_leg` leaves them and are filled in by the worker's own loop; changes are committed as those of tags
and sales are. The lag of a session is from the commit of its end to the moment in which the report has it, as a reader
sees it; that of a change is its own transaction.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from psycopg.types.json import Jsonb

from bench.results import Figure, NotMeasured, figure, percentile
from bench.uis_reports import Case, asked
from bench.uis_store import BIG, MEDIAN, SINCE, Store
from zvonar.dialects.uis import outcomes
from zvonar.reports import postgres
from zvonar.reports.filling import Filling
from zvonar.reports.postgres import PostgresReportStore
from zvonar.reports.query import Order
from zvonar.reports.writing import Change, Writer
from zvonar.store.db import Database

A_SECOND = 500
TICKS = 20  # a second
LATEST = 1000.0  # ms

END = """
INSERT INTO ended_sessions (session_id, account_id, facts)
SELECT nextval('session_ids'), a, %(facts)s FROM unnest(%(accounts)s::bigint[]) a RETURNING session_id
"""
SEEN = "SELECT EXISTS (SELECT FROM session_starts WHERE session_id = %(session_id)s)"
SOME = """
SELECT account_id, session_id FROM report_filters
WHERE account_id = %(account_id)s AND start_time >= %(since)s LIMIT 5000
"""


class _Some(Struct, frozen=True, kw_only=True):
    account_id: int
    session_id: int


class Seen(Struct, kw_only=True):
    """What was observed."""

    ended: list[float]  # ms
    changed: list[float]
    late: int = 0  # ticks that could not begin in time
    reports: int = 0
    written: int = 0


async def measure(store: Store, report: Callable[[str], None], *, seconds: float = 15.0) -> list[Figure]:
    """The lags, at the full pace."""
    report(f"uis_writes: {seconds:g} seconds")
    seen = Seen(ended=[], changed=[])
    stop = asyncio.Event()
    async with (
        Database(store.dsn, size=8) as db,
        Database(store.dsn, size=4) as worker,
        Database(store.dsn, size=4, session=postgres.SESSION) as reports,
    ):
        filling = Filling(worker, outcomes.describe, clock=lambda: datetime.now(UTC))
        await filling.prepare()  # as a worker has long done
        some = await db.rows(_Some, SOME, {"account_id": BIG, "since": SINCE})
        tasks = [
            asyncio.create_task(filling.run(stop)),
            asyncio.create_task(_reports(reports, seen)),
        ]
        try:
            await asyncio.gather(
                _paced(lambda n: _end(db, seen, n), seen, seconds),
                _paced(lambda n: _change(db, filling.writer, some, seen, n), seen, seconds),
            )
        finally:
            stop.set()
            tasks[1].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
    if not seen.ended or not seen.changed:
        raise NotMeasured("Nothing was written.")
    return [
        figure(
            "uis_writes",
            "written a second",
            [seen.written / seconds],
            "1/s",
            [float(A_SECOND)],
            at_least_ratio=0.98,
        ),
        figure(
            "uis_writes",
            "end of a session to the report, p99",
            [percentile(seen.ended, 99)],
            "ms",
            at_most=LATEST,
        ),
        figure(
            "uis_writes", "a change to the report, p99", [percentile(seen.changed, 99)], "ms", at_most=LATEST
        ),
        figure("uis_writes", "reports read meanwhile", [float(seen.reports)], "reports"),
    ]


async def _paced(work: Callable[[int], Any], seen: Seen, seconds: float) -> None:
    """So many pieces of work a second, whether the last ones are done or not."""
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    for n in range(int(seconds * TICKS)):
        wait = began + n / TICKS - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif wait < -1 / TICKS:
            seen.late += 1
        running.add(task := asyncio.create_task(work(n)))
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _end(db: Database, seen: Seen, n: int) -> None:
    now = datetime.now(UTC)
    facts = {
        "start_time": now.isoformat(),
        "answered_at": now.isoformat(),
        "finish_time": now.isoformat(),
        "disposition": "answered",
        "script_result": "completed",
        "contact_phone": f"+7900{n:07}",
        "own_phone": "+74950000000",
        "country": "RU",
    }
    accounts = [1 + (n * 7 + i) % 200 for i in range(A_SECOND // TICKS)]
    async with db.connection() as connection:
        cursor = await connection.execute(END, {"facts": Jsonb(facts), "accounts": accounts})
        ids = [one for (one,) in await cursor.fetchall()]
    ended = time.perf_counter()
    seen.written += len(ids)
    if n % 4 == 0:  # a reader of each would be the load
        for _ in range(500):
            if await db.value(SEEN, {"session_id": ids[-1]}):
                break
            await asyncio.sleep(0.02)
        seen.ended.append((time.perf_counter() - ended) * 1000)


async def _change(db: Database, writer: Writer, some: list[_Some], seen: Seen, n: int) -> None:
    count = A_SECOND // TICKS
    chosen = [some[(n * count + i) % len(some)] for i in range(count)]
    tag = {
        "tag_id": n % 50 + 1,
        "tag_name": "тег",
        "tag_type": "manual",
        "tag_change_time": "2026-11-01T00:00:00Z",
    }
    patch = {"tags": [tag], "sale_cost": str(n)}
    changes = [
        Change(account_id=one.account_id, session_id=one.session_id, patch=lambda _: patch) for one in chosen
    ]
    began = time.perf_counter()
    async with db.transaction() as connection:
        await writer.change(connection, changes)
    seen.changed.append((time.perf_counter() - began) * 1000)


async def _reports(db: Database, seen: Seen) -> None:
    store = PostgresReportStore(db, remembered=0)
    heavy = Case(name="sort talk", order=(Order(field="talk_duration", descending=True),))
    while True:
        for account in (BIG, MEDIAN):
            async with store.report(asked(account, heavy)) as found:
                async for _ in found.rows:
                    pass
            seen.reports += 1
