"""What happens, and who delivers it? Events of made-up calls, and a worker to run beside a test."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.guard import networks
from zvonar.delivery.lanes import Limits
from zvonar.delivery.worker import deliver
from zvonar.store import outbox
from zvonar.store.db import Database
from zvonar.store.outbox import Event, Rendered

from .receiver import DEADLINE

LOOPBACK = networks(["127.0.0.0/8", "::1/128"])
QUICK = Limits(poll=0.02, lease=20.0, drain=5.0)
SOON = Backoff(pauses=(0.02,) * 200, jitter=0.5)

HAPPENED = """
INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
SELECT 1, 1, call, 'call', clock_timestamp(), payload
FROM unnest(%(calls)s::bigint[], %(payloads)s::jsonb[]) AS e (call, payload) RETURNING event_id
"""


class Moving:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2025, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **span: float) -> None:
        self.now += timedelta(**span)


class Row(Struct, frozen=True, kw_only=True):
    """A delivery as the table has it."""

    event_id: int
    state: str
    tries: int
    last_status: int | None
    last_error: str | None


def render(event: Event) -> Sequence[Rendered]:
    """One body an event, to the address in its payload."""
    return (
        Rendered(
            kind="test",
            address=event.payload["to"],
            order_key=f"call/{event.call_id}",
            content_type="application/json",
            body=msgspec.json.encode({"event": event.event_id, "call": event.call_id, **event.payload})
            if event.payload.get("method") != "GET"
            else b"",
            method=event.payload.get("method", "POST"),
            url=event.payload.get("url"),
        ),
    )


async def happened(db: Database, to: str, calls: Sequence[int], **more: Any) -> list[int]:
    """One event for each of these calls, in this order; their ids."""
    payloads = [Jsonb({"to": to, "place": place, **more}) for place in range(len(calls))]
    async with db.connection() as connection:
        cursor = await connection.execute(HAPPENED, {"calls": list(calls), "payloads": payloads})
        return [found[0] for found in await cursor.fetchall()]


async def fanned_out(db: Database, renderer: Any = render) -> None:
    """All events as deliveries."""
    while (await outbox.fan_out(db, renderer, now=now(), next_try=lambda _: None)).events:
        pass


async def deliveries(db: Database) -> list[Row]:
    return await db.rows(
        Row, "SELECT event_id, state, tries, last_status, last_error FROM deliveries ORDER BY event_id"
    )


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(DEADLINE):
        while True:
            if await what():
                return
            await asyncio.sleep(0.02)


async def until_states(db: Database, **wanted: int) -> list[Row]:
    """Wait until the deliveries are so many in these states and none in others."""

    async def so() -> bool:
        return Counter(row.state for row in await deliveries(db)) == wanted

    await eventually(so)
    return await deliveries(db)


class Counted:
    """Meters that a test can read and wait for."""

    def __init__(self) -> None:
        self.events = 0
        self.aside = 0
        self.kinds: set[str] = set()
        self.given_up: list[str] = []
        self.lags: list[float] = []
        self.errors: list[str] = []
        self.dead = 0
        self.most_in_flight = 0
        self._failed = asyncio.Event()

    def fanned_out(self, events: int) -> None:
        self.events += events

    def unrendered(self, events: int) -> None:
        self.aside += events

    def disabled(self, reason: str) -> None:
        self.given_up.append(reason)

    def delivered(self, kind: str, lag: float) -> None:
        self.kinds.add(kind)
        self.lags.append(lag)

    def failed(self, kind: str, error: str, *, dead: bool) -> None:
        self.kinds.add(kind)
        self.errors.append(error)
        self.dead += dead
        self._failed.set()

    def in_flight(self, deliveries: int) -> None:
        self.most_in_flight = max(self.most_in_flight, deliveries)

    async def until_failed(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.errors) < times:
                self._failed.clear()
                await self._failed.wait()


@asynccontextmanager
async def worker(db: Database, renderer: Any = render, **settings: Any) -> AsyncIterator[asyncio.Event]:
    """A worker beside the test; its stop event. It is stopped and awaited at the end."""
    stop = asyncio.Event()
    given = {"allowed": LOOPBACK, "limits": QUICK, "backoff": SOON, "stop": stop, **settings}
    async with asyncio.TaskGroup() as group:
        group.create_task(deliver(db, renderer, **given))
        try:
            yield stop
        finally:
            stop.set()


def now() -> datetime:
    return datetime.now(UTC)
