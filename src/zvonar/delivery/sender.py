"""Who gets the next try? Due deliveries are leased, tried side by side, and settled in batches.

At least once: a delivery is settled after its try, so a crash in between sends the same bytes again, as soon as
another worker sees that this one is dead. In order per key: only the first pending delivery of a key is ever leased.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

import structlog

from zvonar.delivery.backoff import Backoff, asked_pause
from zvonar.delivery.bell import Bell, pause
from zvonar.delivery.lanes import Lanes, Leased, Limits
from zvonar.delivery.meters import DeliveryMeters
from zvonar.delivery.verdict import Answer, Failure, Transport
from zvonar.store import deliveries
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.deliveries import Delivery, Settlement
from zvonar.store.workers import Identity

log = structlog.get_logger(__name__)

__all__ = ["Limits", "Sender"]

_GATHER = (
    0.005  # seconds from a ring to the lease: work comes in flocks, and a statement each would cost more
)
_RECORD = 0.02  # seconds from a verdict to its settling, for the same reason
_WALK = 0.05  # seconds from one look at all addresses to the next, at least
_WALK_SHARE = 8.0  # times that a look took are left to others before the next
_LOOK = 0.25  # seconds between looks at who does not answer
_PATIENCE = 2.0  # seconds between tries at a database that is away


class Sender:
    """Sends what is due. Any number may run on one database."""

    def __init__(
        self,
        db: Database,
        transports: Mapping[str, Transport],
        identity: Identity,
        *,
        limits: Limits,
        backoff: Backoff,
        meters: DeliveryMeters,
        clock: Callable[[], datetime],
        roll: Callable[[], float] = random.random,
    ) -> None:
        """`transports`: by the scheme of the address."""
        self._quick_bell, self._walk_bell = Bell(), Bell()
        self._db = db
        self._transports = transports
        self._identity = identity
        self._limits = limits
        self._backoff = backoff
        self._meters = meters
        self._clock = clock
        self._roll = roll
        self._lanes = Lanes(limits)
        self._settled: list[Settlement] = []  # waiting to be recorded
        self._to_record = Bell()
        self._open = 0  # tries that are under way or not recorded yet
        self._closed = asyncio.Event()
        self._closed.set()
        self._tries: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._group: asyncio.TaskGroup  # of a run

    def ring(self) -> None:
        """There may be something to lease."""
        self._quick_bell.ring()
        self._walk_bell.ring()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which comes with a ring; then waits for what is in flight, at most `limits.drain`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            background = (group.create_task(self._record()), group.create_task(self._look()))
            async with asyncio.TaskGroup() as leasing:
                leasing.create_task(self._lease_from_quick(stop))
                leasing.create_task(self._lease_from_others(stop))
            self._stopping = True
            await self._give_back(self._lanes.give_up())
            try:
                async with asyncio.timeout(self._limits.drain):
                    await self._closed.wait()
            except TimeoutError:
                log.warning("delivery.not_drained", in_flight=self._lanes.trying)
            for task in (*self._tries, *background):
                task.cancel()

    async def _lease_from_quick(self, stop: asyncio.Event) -> None:
        """Busy addresses that answer well are asked for by name, at every ring."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            rooms, limit = self._lanes.quick_rooms(busy=True, clock=loop.time())
            if rooms:
                await self._lease(stop, partial(deliveries.lease_from, limit=limit, rooms=rooms))
            await self._quick_bell.heard(self._limits.poll)
            await asyncio.sleep(_GATHER)

    async def _lease_from_others(self, stop: asyncio.Event) -> None:
        """All other addresses are walked, which takes the longer the more there are: by the side, now and then."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            rooms, limit = self._lanes.quick_rooms(busy=False, clock=began)
            if rooms:
                await self._lease(stop, partial(deliveries.lease_from, limit=limit, rooms=rooms))
            rooms, first, limit = self._lanes.other_rooms()
            if limit:
                walk = partial(deliveries.lease, limit=limit, per_address=first, rooms=rooms)
                await self._lease(stop, walk)
            took = loop.time() - began
            await self._walk_bell.heard(self._limits.poll)
            await pause(stop, max(_GATHER, _WALK - took, _WALK_SHARE * took))

    async def _lease(self, stop: asyncio.Event, lease: Callable[..., Awaitable[list[Delivery]]]) -> None:
        wait = 0.1
        while not stop.is_set():
            if not self._identity.known.is_set():
                await pause(stop, 0.02)
                continue
            worker_id, now = self._identity.worker_id, self._clock()
            until = now + timedelta(seconds=self._limits.lease)
            try:
                leased = await lease(self._db, worker_id=worker_id, now=now, until=until)
            except StoreUnavailable as exc:
                log.warning("delivery.lease_waiting", reason=str(exc), pause=wait)
                await pause(stop, wait)
                wait = min(wait * 2, _PATIENCE)
            else:
                self._take(leased, until, worker_id)
                return

    def _take(self, leased: list[Delivery], until: datetime, worker_id: int) -> None:
        start_by = until - timedelta(seconds=self._limits.lease / 2)
        hand = [Leased(delivery=one, worker_id=worker_id, until=until, start_by=start_by) for one in leased]
        loop = asyncio.get_running_loop()
        self._try(self._lanes.put(hand, at=self._clock(), clock=loop.time()))

    def _try(self, started: Iterable[Leased]) -> None:
        for leased in started:
            self._open += 1
            self._closed.clear()
            task = self._group.create_task(self._send(leased))
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)
        if self._lanes.stale:
            self._to_record.ring()

    async def _send(self, leased: Leased) -> None:
        loop = asyncio.get_running_loop()
        sent_at, began = self._clock(), loop.time()
        delivery = leased.delivery
        transport = self._transports.get(delivery.address.partition(":")[0].lower())
        if transport is not None:
            answer = await transport.send(delivery, at=sent_at)
        else:  # an address that no transport knows
            answer = Answer(status=None, failure=Failure.guarded)
        ended, now = loop.time(), self._clock()
        self._settled.append(self._judged(leased, answer, sent_at, now, round((ended - began) * 1000)))
        self._to_record.ring()
        self._try(self._lanes.done(leased, taken=answer.failure is None, at=now, clock=ended))

    def _judged(
        self, leased: Leased, answer: Answer, sent_at: datetime, now: datetime, latency: int
    ) -> Settlement:
        delivery = leased.delivery
        if answer.failure is None:
            next_at = None
            self._meters.delivered(delivery.kind, (now - delivery.event_at).total_seconds())
        else:
            tries = delivery.tries + 1 - delivery.tries_before
            asked = asked_pause(answer.retry_after, now=now)
            next_at = self._backoff.next_at(tries, now=now, roll=self._roll(), asked=asked)
            if answer.final:
                next_at = None
            gone = answer.failure is Failure.gone
            dead = next_at is None and not gone
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
        return Settlement(
            delivery=delivery,
            worker_id=leased.worker_id,
            until=leased.until,
            sent_at=sent_at,
            at=now,
            latency=latency,
            status=answer.status,
            error=str(answer.failure) if answer.failure else None,
            next_at=next_at,
            gone=answer.failure is Failure.gone,
            answer=answer.head,
        )

    async def _record(self) -> None:
        """Record whatever has come in meanwhile, in one statement, for ever."""
        while True:
            await self._to_record.heard(self._limits.poll)
            if not self._stopping:
                await asyncio.sleep(_RECORD)
            stale, self._lanes.stale = self._lanes.stale, []
            await self._give_back(stale)
            batch, self._settled = self._settled, []
            if not batch:
                continue
            given_up = await self._db.patiently(
                partial(deliveries.settle, self._db, batch, now=self._clock()), what="settle"
            )
            for receiver in given_up:
                self._meters.disabled(receiver.reason)
                log.error(
                    "delivery.receiver_disabled",
                    account_id=receiver.account_id,
                    reason=receiver.reason,
                    told=receiver.email is not None,
                )
            self._open -= len(batch)
            if not self._open:
                self._closed.set()
            self._meters.in_flight(self._open)
            self.ring()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            await asyncio.sleep(_LOOK)
            self._try(self._lanes.look(at=self._clock(), clock=loop.time()))

    async def _give_back(self, leased: list[Leased]) -> None:
        by_worker: dict[int, list[int]] = {}
        for one in leased:
            by_worker.setdefault(one.worker_id, []).append(one.delivery.delivery_id)
        for worker_id, delivery_ids in by_worker.items():
            try:
                await deliveries.release(self._db, delivery_ids, worker_id=worker_id)
            except StoreUnavailable:
                log.warning("delivery.not_given_back", deliveries=len(delivery_ids))  # their leases run out
