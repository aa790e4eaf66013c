"""How soon and how fast do events arrive? The real worker and database, beside a loop that only posts.

The receivers are a process of their own on this machine, the worker too: what is measured is what an operator has.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook

from bench.ground import Ground, now
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.delivery.guard import networks
from zvonar.delivery.worker import deliver
from zvonar.store.db import Database
from zvonar.store.outbox import Event, Rendered
from zvonar.store.webhook_secrets import new_secret

AT_ONCE = 16  # posts at once to one address, ours and the bare loop's
PER_TICK = 5  # events of one moment at a pace
PATIENCE = 120.0  # seconds for a case
SECRET = new_secret()

ACCOUNT = """
WITH added AS (
    INSERT INTO accounts (name, currency, timezone, countries, tariff_id)
    SELECT 'bench', 'RUB', 'UTC', ARRAY['RU'], tariff_id FROM tariffs LIMIT 1 RETURNING account_id
), secret AS (
    INSERT INTO webhook_secrets (account_id, secret, created_at) SELECT account_id, %(secret)s, %(now)s FROM added
)
SELECT account_id FROM added
"""

# What a call's change leaves in the outbox, without the call.
HAPPENED = """
INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
SELECT %(account_id)s, 1, call, 'call', clock_timestamp(), %(payload)s::jsonb || jsonb_build_object('to', receiver)
FROM unnest(%(calls)s::bigint[], %(receivers)s::text[]) AS e (call, receiver) RETURNING event_id
"""

# As large as an autocall `call` body.
BODY = {
    "id": 35, "autocall_id": 9, "number": "+70000000351", "extra": "Тимофеев А.Р.", "lock": False, "tries": 2,
    "date_tries": ["2020-04-14 09:00:00", "2020-04-14 10:00:00"], "status_tries": ["busy", "success"],
    "last_try_at": "2020-04-14 10:00:00", "duration": 6, "r_duration": 0, "status": "success", "data": [],
    "created_at": "2020-04-14 04:50:29", "updated_at": "2020-04-14 10:00:00",
}  # fmt: skip


class Size(Struct, frozen=True, kw_only=True):
    """How much is done."""

    events: int = 20_000
    rounds: int = 3
    each_call: int = 4  # events of one call
    per_second: int = 500
    seconds: int = 5  # at that pace
    live: int = 10
    dead: int = 200


TINY = Size(events=200, rounds=1, seconds=1, live=2, dead=4)


def render(event: Event) -> tuple[Rendered, ...]:
    """One `call` body to the address in the event."""
    return (
        Rendered(
            kind="bench",
            address=event.payload["to"],
            order_key=f"call/{event.call_id}",
            content_type="application/json",
            body=msgspec.json.encode({"call": event.payload["call"]}),
        ),
    )


class Sink:
    """The receivers' process."""

    def __init__(self, process: asyncio.subprocess.Process, ports: list[int], hole: int) -> None:
        self._process = process
        self.urls = [f"http://127.0.0.1:{port}/reports" for port in ports]
        self.hole = hole

    async def ask(self, what: str) -> object:
        """`count` of events that have come, or the `report` of when, which forgets them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return json.loads(await self._process.stdout.readline())

    async def arrivals(self, count: int) -> dict[int, float]:
        """When each of so many events came, once all have."""
        until = time.monotonic() + PATIENCE
        while await self.ask("count") != count:
            if time.monotonic() > until:
                raise NotMeasured(f"Of {count} events {await self.ask('count')} arrived.")
            await asyncio.sleep(0.05)
        found = await self.ask("report")
        assert isinstance(found, dict)
        return {int(event): at for event, at in found.items()}


@contextlib.asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """Receivers, up already."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.sink"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdout is not None
    try:
        said = json.loads(await process.stdout.readline())
        yield Sink(process, said["ports"], said["hole"])
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def worker(dsn: str) -> AsyncIterator[None]:
    """A worker in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.delivery"),
        env={**os.environ, "BENCH_DSN": dsn},
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield
        if process.returncode is not None:
            raise NotMeasured("The worker ended by itself.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def measure(ground: Ground, size: Size) -> list[Figure]:
    """Throughput, latency at a pace, and latency beside dead receivers."""
    with ground.database("bench_delivery") as dsn:
        async with Database(dsn, size=4) as db, sink() as receivers:
            account_id = int(await db.value(ACCOUNT, {"secret": SECRET, "now": now()}))
            ours, bare = [], []
            for number in range(size.rounds):
                ground.report(f"delivery: {size.events} events, round {number + 1}")
                bare.append(await _bare(receivers, size))
                ours.append(await _rate(dsn, db, account_id, receivers, size))
            bare_paced: list[list[float]] = []
            alone: list[list[float]] = []
            beside: list[list[float]] = []
            for number in range(size.rounds):
                ground.report(f"delivery: {size.per_second} events a second, round {number + 1}")
                bare_paced.append(await _bare_paced(receivers, size))
                async with worker(dsn):
                    alone.append(await _paced(db, account_id, receivers, size))
                ground.report(f"delivery: the same beside {size.dead} dead receivers, round {number + 1}")
                async with worker(dsn):
                    beside.append(await _beside_dead(db, account_id, receivers, size))
                    await db.execute("DELETE FROM deliveries WHERE state = 'pending'")
    pace = f"event to arrival at {size.per_second} a second"
    return [
        figure("delivery", f"{size.events} events to one address", ours, "1/s", bare, at_least_ratio=0.4),
        *(
            figure(
                "delivery",
                f"{pace}, p{percent}",
                [percentile(one, percent) for one in alone],
                "ms",
                [percentile(one, percent) for one in bare_paced],
                at_most=at_most,
            )
            for percent, at_most in ((50, None), (95, 150.0))
        ),
        figure(
            "delivery",
            f"p95 beside {size.dead} dead receivers",
            [percentile(one, 95) for one in beside],
            "ms",
            [percentile(one, 95) for one in alone],
            at_most_ratio=1.2,
        ),
    ]


async def _happen(db: Database, account_id: int, receivers: list[str], calls: list[int]) -> None:
    params = {
        "account_id": account_id,
        "payload": Jsonb({"call": BODY}),
        "calls": calls,
        "receivers": [receivers[call % len(receivers)] for call in calls],
    }
    await db.execute(HAPPENED, params)


async def _rate(dsn: str, db: Database, account_id: int, receivers: Sink, size: Size) -> float:
    """Events a second, from the first to the last arrival of a backlog."""
    calls = [call for _ in range(size.each_call) for call in range(size.events // size.each_call)]
    for first in range(0, len(calls), 5000):
        await _happen(db, account_id, receivers.urls[:1], calls[first : first + 5000])
    async with worker(dsn):
        arrivals = sorted((await receivers.arrivals(len(calls))).values())
        # What arrived is also settled, or the next worker would send it again.
        await _settled(db)
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


async def _settled(db: Database) -> None:
    while await db.value("SELECT EXISTS (SELECT FROM deliveries WHERE state = 'pending')"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


class _Bare:
    """The same posts, signed, from a loop that has no database and knows them all beforehand."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._body = msgspec.json.encode({"call": BODY})
        self._text, self._webhook = self._body.decode(), Webhook(SECRET)

    async def post(self, number: int) -> None:
        at = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "Zvonar-Event-Id": str(number),
            "webhook-id": str(number),
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._webhook.sign(str(number), at, self._text),
        }
        async with self._session.post(self._url, data=self._body, headers=headers) as response:
            await response.read()


async def _bare(receivers: Sink, size: Size) -> float:
    """Posts a second of the bare loop."""
    numbers = iter(range(size.events))

    async def some(bare: _Bare) -> None:
        for number in numbers:
            await bare.post(number)

    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        bare = _Bare(session, receivers.urls[0])
        for _ in range(AT_ONCE):
            group.create_task(some(bare))
    took = time.perf_counter() - began
    await receivers.arrivals(size.events)
    return size.events / took


async def _bare_paced(receivers: Sink, size: Size) -> list[float]:
    """Milliseconds from the wish to post to the arrival, at the same pace."""
    wished: list[float] = []
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        bare = [_Bare(session, url) for url in receivers.urls[: size.live]]
        async for tick in _ticks(size):
            for number in range(tick * PER_TICK, (tick + 1) * PER_TICK):
                wished.append(time.time())
                group.create_task(bare[number % len(bare)].post(number))
    arrivals = await receivers.arrivals(len(wished))
    return [(arrivals[number] - at) * 1000 for number, at in enumerate(wished)]


async def _ticks(size: Size) -> AsyncIterator[int]:
    """Counts at such a pace that `PER_TICK` events a tick make `per_second`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for tick in range(size.seconds * size.per_second // PER_TICK):
        await asyncio.sleep(max(0.0, began + tick * PER_TICK / size.per_second - loop.time()))
        yield tick


async def _paced(db: Database, account_id: int, receivers: Sink, size: Size) -> list[float]:
    """Milliseconds from each event to its arrival, at an even pace; calls change as they come, a few at a time."""
    urls = receivers.urls[: size.live]
    await _happen(db, account_id, urls, list(range(size.per_second)))  # so that receivers are known
    await receivers.arrivals(size.per_second)
    count = 0
    async for tick in _ticks(size):
        await _happen(db, account_id, urls, list(range(tick * PER_TICK, (tick + 1) * PER_TICK)))
        count += PER_TICK
    arrivals = await receivers.arrivals(count)
    happened = await db.rows(
        _At, "SELECT event_id, at FROM outbox WHERE event_id = ANY(%s)", [list(arrivals)]
    )
    await asyncio.sleep(0.2)  # so that the last of them are settled
    return [(arrivals[event.event_id] - event.at.timestamp()) * 1000 for event in happened]


async def _beside_dead(db: Database, account_id: int, receivers: Sink, size: Size) -> list[float]:
    """The same, while events of as many receivers happen that refuse or never answer, one a second for each."""
    dead = [f"http://127.0.0.1:{1 if number % 2 else receivers.hole}/{number}" for number in range(size.dead)]
    stop = asyncio.Event()

    async def more() -> None:
        call, at_once = 10**9, min(10, size.dead)
        while not stop.is_set():
            await _happen(db, account_id, dead, list(range(call, call + at_once)))
            call += at_once
            await asyncio.sleep(at_once / size.dead)

    async with asyncio.TaskGroup() as group:
        group.create_task(more())
        try:
            return await _paced(db, account_id, receivers, size)
        finally:
            stop.set()


class _At(Struct, frozen=True):
    event_id: int
    at: datetime


async def main() -> None:
    """The worker's process: until it is killed."""
    async with Database(os.environ["BENCH_DSN"], size=6) as db:
        await deliver(db, render, stop=asyncio.Event(), allowed=networks(["127.0.0.0/8"]))


if __name__ == "__main__":
    import uvloop

    from zvonar.service import logs

    logs.configure(level="error", role="worker")
    uvloop.run(main())
