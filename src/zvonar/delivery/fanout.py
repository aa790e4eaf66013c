"""What has happened that somebody wants to hear? Events become deliveries as soon as they are committed."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.bell import Bell, pause
from zvonar.delivery.meters import DeliveryMeters
from zvonar.store import outbox
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.outbox import Look, Recorder, Renderer

log = structlog.get_logger(__name__)

BATCH = 500  # events of one transaction
POLL = 1.0  # seconds between looks without a ring: another process's fan-out may have died with its lock
GATHER = 0.02  # seconds from a ring to the look, so that one transaction takes a flock of events
_PATIENCE = 2.0  # seconds between tries at a database that is away


class Fanout:
    """Turns events into deliveries. Any number may run; one at a time works.

    An event that no renderer can make anything of would stop all others. It steps aside instead, and later ones of
    its call with it, until the backoff says that it is tried again; once that is used up, the later ones pass.
    """

    def __init__(
        self,
        db: Database,
        render: Renderer,
        *,
        made: Callable[[], None],
        backoff: Backoff,
        meters: DeliveryMeters,
        clock: Callable[[], datetime],
        record: Recorder | None = None,
        look: Look | None = None,
    ) -> None:
        self.bell = Bell()  # rings when the outbox grew
        self._look = look  # makes a renderer for what has to be looked up
        self._db = db
        self._render = render
        self._made = made  # told when there are new deliveries
        self._backoff = backoff
        self._meters = meters
        self._clock = clock
        self._record = record  # keeps what events mean to the house itself

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which comes with a ring."""
        wait = 0.1
        while not stop.is_set():
            try:
                batch = await outbox.fan_out(
                    self._db,
                    self._render,
                    now=self._clock(),
                    next_try=self._next_try,
                    limit=BATCH,
                    record=self._record,
                    look=self._look,
                )
            except StoreUnavailable as exc:
                log.warning("delivery.fanout_waiting", reason=str(exc), pause=wait)
                await pause(stop, wait)
                wait = min(wait * 2, _PATIENCE)
                continue
            wait = 0.1
            self._report(batch)
            if batch.events < BATCH:
                await self.bell.heard(POLL)
                # A transaction for every event would cost more than the events; a moment gathers many.
                await pause(stop, GATHER)

    def _next_try(self, tries: int) -> datetime | None:
        return self._backoff.next_at(tries, now=self._clock(), roll=random.random())

    def _report(self, batch: outbox.Batch) -> None:
        if batch.events:
            self._meters.fanned_out(batch.events)
        if batch.deliveries:
            self._made()
        if batch.parked:
            self._meters.unrendered(len(batch.parked))
        for event in batch.parked:
            log.error(
                "delivery.cannot_render",
                event_id=event.event_id,
                error=event.error,
                tries=event.tries,
                given_up=event.next_at is None,
            )
