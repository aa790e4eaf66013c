"""At which pace do calls get into a CRM that allows seven requests a second? Two real workers, beside what is allowed.

The CRM is a process of its own, answers after 50 ms and notes when each request came.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure
from zvonar.delivery.crm.asking import PER_SECOND
from zvonar.delivery.crm.batch import MOST
from zvonar.delivery.crm.outcomes import PUSHED
from zvonar.delivery.crm.pusher import Crm
from zvonar.delivery.crm.vault import Credentials, Vault
from zvonar.delivery.guard import networks
from zvonar.delivery.worker import deliver
from zvonar.store import push_attempts, push_connections, sessions
from zvonar.store.db import Database
from zvonar.store.push_attempts import Wanted

VAULT = Vault("bench")
TAG = "zvbench"
WORKERS = 2
THINKS = 50  # milliseconds
PATIENCE = 60.0  # seconds beyond what the allowed pace takes

ACCOUNT = """
INSERT INTO accounts (name, currency, timezone, countries, tariff_id)
SELECT 'bench', 'RUB', 'UTC', ARRAY['RU'], tariff_id FROM tariffs LIMIT 1 RETURNING account_id
"""
CAMPAIGN = """
INSERT INTO campaigns (account_id, campaign_id, name, type, status, settings, created_at, updated_at)
VALUES (%(account_id)s, 1, 'bench', 'regular', 'paused', '{}', %(now)s, %(now)s)
"""
CALLS = """
WITH made AS (
    INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, state, call_end, due_at, attempts,
        created_at, updated_at)
    SELECT %(account_id)s, n, 1, n, '+7916' || lpad(n::text, 7, '0'), 'RU', 'finished', 'success', %(now)s, 1, %(now)s,
        %(now)s FROM generate_series(1, %(calls)s) AS n RETURNING call_id, phone
), tried AS (
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
        script_result, talk_seconds)
    SELECT %(account_id)s, call_id, 1, 1, phone, %(now)s, %(now)s, 'answered', 'completed', 5 FROM made
)
INSERT INTO report_rows (account_id, session_id, start_time, finish_time, direction, is_lost, disposition,
    script_result, campaign_id, call_id, attempt)
SELECT %(account_id)s, call_id, %(now)s, %(now)s, 'out', false, 'answered', 'completed', 1, call_id, 1
FROM made
"""


class Size(Struct, frozen=True, kw_only=True):
    """How much is pushed."""

    calls: int = 10_000


TINY = Size(calls=300)


class Sink:
    """The CRM's process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    async def ask(self, what: str) -> object:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return json.loads(await self._process.stdout.readline())


@contextlib.asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """A CRM, up already."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.crm_sink", str(THINKS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    assert process.stdout is not None
    try:
        yield Sink(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def workers(dsn: str) -> AsyncIterator[None]:
    """Workers in processes of their own."""
    made = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.amocrm_push"), env={**os.environ, "BENCH_DSN": dsn}
        )
        for _ in range(WORKERS)
    ]
    try:
        yield
        if any(process.returncode is not None for process in made):
            raise NotMeasured("A worker ended by itself.")
    finally:
        for process in made:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """The rate over all, and the most requests of any one second."""
    ground.report(f"amocrm_push: {size.calls} calls, {WORKERS} workers, {PER_SECOND} requests a second")
    with ground.database("bench_push") as dsn:
        async with Database(dsn, size=2) as db, sink() as crm:
            await _prepare(db, crm.url, size, now())
            async with workers(dsn):
                await _all_there(crm, size)
            arrivals = await crm.ask("report")
    assert isinstance(arrivals, list)
    case = f"{size.calls} calls in {len(arrivals)} requests"
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    most = [_most_within_a_second(arrivals)]
    return [
        figure("amocrm_push", case, [rate], "1/s", [PER_SECOND], at_least_ratio=0.98),
        figure("amocrm_push", "most requests in any second", most, "", [PER_SECOND], at_most=PER_SECOND),
    ]


async def _prepare(db: Database, url: str, size: Size, at: datetime) -> None:
    account_id = int(await db.value(ACCOUNT))
    await sessions.ensure_months(db, now=at)
    await db.execute(CAMPAIGN, {"account_id": account_id, "now": at})
    await db.execute(CALLS, {"account_id": account_id, "now": at, "calls": size.calls})
    await push_connections.put(
        db,
        account_id,
        tag=TAG,
        base_url=url,
        kind="long_lived",
        credentials=VAULT.seal(account_id, Credentials(access_token="bench", issued_at=at)),
        expires_at=None,
        settings={},
        crm_account_id=1,
        customers=False,
        now=at,
    )
    period = Wanted(
        account_id=account_id,
        tag=TAG,
        since=at - timedelta(hours=1),
        until=at + timedelta(hours=1),
        last_only=True,
        outcomes=PUSHED,
    )
    done = await push_attempts.backfill(db, period, now=at)
    if done.added != size.calls:
        raise NotMeasured(f"Of {size.calls} calls {done.added} are on their way.")


async def _all_there(crm: Sink, size: Size) -> None:
    until = time.monotonic() + size.calls / MOST / PER_SECOND + PATIENCE
    while (said := await crm.ask("count")) != {"calls": size.calls, "different": size.calls}:
        if time.monotonic() > until:
            raise NotMeasured(f"Of {size.calls} calls these arrived: {said}.")
        await asyncio.sleep(0.25)


def _most_within_a_second(arrivals: Sequence[float]) -> int:
    """Requests in the fullest stretch of a second, both of its ends included."""
    most = first = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] > 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


async def main() -> None:
    """A worker's process: until it is killed."""
    async with Database(os.environ["BENCH_DSN"], size=4) as db:
        await deliver(
            db,
            lambda _: (),
            stop=asyncio.Event(),
            allowed=networks(["127.0.0.0/8"]),
            crm=Crm(vault=VAULT),
        )


if __name__ == "__main__":
    import uvloop

    from zvonar.service import logs

    logs.configure(level="error", role="worker")
    uvloop.run(main())
