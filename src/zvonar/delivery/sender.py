"""Who gets the next POST? Due deliveries are leased, posted side by side, and settled in batches.

At least once: a delivery is settled after its POST, so a crash in between sends the same bytes again once its
lease has run out. In order per key: only the first pending delivery of a key is ever leased.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from msgspec import Struct

from zvonar.delivery import queue
from zvonar.delivery.backoff import Backoff
from zvonar.delivery.bell import Bell, pause
from zvonar.delivery.meters import DeliveryMeters
from zvonar.delivery.post import Poster
from zvonar.delivery.queue import Settlement
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.outbox import Delivery

log = structlog.get_logger(__name__)

_GATHER = (
    0.005  # seconds from a ring to the lease: work comes in flocks, and a statement each would cost more
)
_PATIENCE = 2.0  # seconds between tries at a database that is away


class Limits(Struct, frozen=True, kw_only=True):
    """How much of one process deliveries may take."""

    total: int = 256  # deliveries in flight
    per_address: int = 16  # of these to one address; one that fails gets a single one until it recovers
    lease: float = 25.0  # seconds that a delivery is ours; longer than a POST and its settling may take
    poll: float = (
        1.0  # seconds between looks without a ring: a retry is due, or a dead process's lease is over
    )
    drain: float = 12.0  # seconds for what is in flight at a stop


class Sender:
    """Sends what is due. Any number may run on one database."""

    def __init__(
        self,
        db: Database,
        poster: Poster,
        *,
        limits: Limits,
        backoff: Backoff,
        meters: DeliveryMeters,
        clock: Callable[[], datetime],
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.bell = Bell()  # rings when there may be something to lease
        self._db = db
        self._poster = poster
        self._limits = limits
        self._backoff = backoff
        self._meters = meters
        self._clock = clock
        self._roll = roll
        self._in_flight: Counter[str] = Counter()  # by address, until settled
        self._caps: dict[str, int] = {}  # of addresses that failed lately
        self._settled: list[Settlement] = []  # waiting to be recorded
        self._to_record = Bell()
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which comes with a ring; then waits for what is in flight, at most `limits.drain`."""
        async with asyncio.TaskGroup() as group:
            recorder = group.create_task(self._record())
            posts: set[asyncio.Task[None]] = set()
            while not stop.is_set():
                room = self._limits.total - self._in_flight.total()
                leased, until = await self._lease(room, stop) if room else ([], self._clock())
                for delivery in leased:
                    self._took(delivery)
                    post = group.create_task(self._post(delivery, until))
                    posts.add(post)
                    post.add_done_callback(posts.discard)
                if not room or len(leased) < room:
                    await self.bell.heard(self._limits.poll)
                    await asyncio.sleep(_GATHER)
            try:
                async with asyncio.timeout(self._limits.drain):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("delivery.not_drained", in_flight=self._in_flight.total())
            for task in (*posts, recorder):
                task.cancel()

    async def _lease(self, room: int, stop: asyncio.Event) -> tuple[list[Delivery], datetime]:
        wait = 0.1
        while not stop.is_set():
            now = self._clock()
            until = now + timedelta(seconds=self._limits.lease)
            try:
                leased = await queue.lease(
                    self._db,
                    now=now,
                    until=until,
                    limit=room,
                    per_address=self._limits.per_address,
                    rooms=self._rooms(),
                )
            except StoreUnavailable as exc:
                log.warning("delivery.lease_waiting", reason=str(exc), pause=wait)
                await pause(stop, wait)
                wait = min(wait * 2, _PATIENCE)
            else:
                return leased, until
        return [], self._clock()

    def _rooms(self) -> dict[str, int]:
        known = self._in_flight.keys() | self._caps.keys()
        return {address: max(0, self._cap(address) - self._in_flight[address]) for address in known}

    def _cap(self, address: str) -> int:
        return self._caps.get(address, self._limits.per_address)

    async def _post(self, delivery: Delivery, until: datetime) -> None:
        sent_at = self._clock()
        headers = {
            "Content-Type": delivery.content_type,
            "Zvonar-Event-Id": str(delivery.event_id),
            "Zvonar-Attempt": str(delivery.tries + 1),
            "Zvonar-Timestamp": str(int(sent_at.timestamp())),
        }
        answer = await self._poster.post(delivery.address, delivery.body, headers)
        now = self._clock()
        tries = delivery.tries + 1
        next_at = self._backoff.next_at(tries, now=now, roll=self._roll()) if answer.failure else None
        if answer.failure is None:
            self._meters.delivered(delivery.kind, (now - delivery.event_at).total_seconds())
        else:
            dead = next_at is None
            self._meters.failed(delivery.kind, answer.failure, dead=dead)
            log.warning(
                "delivery.dead" if dead else "delivery.failed",
                delivery_id=delivery.delivery_id,
                event_id=delivery.event_id,
                tries=tries,
                status=answer.status,
                error=str(answer.failure),
                reason=answer.reason,
            )
        self._slow_start(delivery.address, failed=answer.failure is not None)
        self._settled.append(
            Settlement(
                delivery=delivery,
                until=until,
                at=now,
                status=answer.status,
                error=str(answer.failure) if answer.failure else None,
                next_at=next_at,
            )
        )
        self._to_record.ring()

    def _slow_start(self, address: str, *, failed: bool) -> None:
        # After an outage the backlog of an address must not be what fells it again.
        if failed:
            self._caps[address] = 1
        elif address in self._caps:
            self._caps[address] *= 2
            if self._caps[address] >= self._limits.per_address:
                del self._caps[address]

    async def _record(self) -> None:
        """Record whatever has come in meanwhile, in one statement, for ever."""
        while True:
            await self._to_record.heard(self._limits.poll)
            while self._settled:
                batch, self._settled = self._settled, []
                await self._db.patiently(partial(queue.settle, self._db, batch), what="settle")
                for settled in batch:
                    self._let_go(settled)
                self.bell.ring()

    def _took(self, delivery: Delivery) -> None:
        self._in_flight[delivery.address] += 1
        self._empty.clear()
        self._meters.in_flight(self._in_flight.total())

    def _let_go(self, settled: Settlement) -> None:
        address = settled.delivery.address
        self._in_flight[address] -= 1
        if not self._in_flight[address]:
            del self._in_flight[address]
        if not self._in_flight:
            self._empty.set()
        self._meters.in_flight(self._in_flight.total())
