"""What may be forgotten? What was delivered long ago, in small bites, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from zvonar.delivery.bell import pause
from zvonar.store import deliveries, outbox, receivers
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.outbox import Swept

log = structlog.get_logger(__name__)

_BITE = 1000  # rows of one statement
_CHEW = 0.05  # seconds between bites
_STRAYS = 60.0  # seconds between looks at what slipped past a receiver's disabling
_REST = 60  # of these from one sweep to the next


class _Sweep(Protocol):
    def __call__(self, db: Database, *, before: datetime, after: int, limit: int) -> Awaitable[Swept]: ...


async def tidy(db: Database, *, keep: timedelta, stop: asyncio.Event, clock: Callable[[], datetime]) -> None:
    """Until `stop`: forget deliveries, their tries and events that are older than `keep` and done with."""
    looks = 0
    while not stop.is_set():
        try:
            await receivers.set_strays_aside(db)
            if looks % _REST == 0:
                await sweep(db, before=clock() - keep, stop=stop)
        except StoreUnavailable as exc:
            log.warning("delivery.tidy_waiting", reason=str(exc))
        looks += 1
        await pause(stop, _STRAYS)


async def sweep(db: Database, *, before: datetime, stop: asyncio.Event, bite: int = _BITE) -> None:
    """Forget what was done with before then."""
    sweeps: tuple[_Sweep, ...] = (deliveries.sweep, outbox.sweep)
    for one in sweeps:
        after = 0
        while not stop.is_set():
            swept = await one(db, before=before, after=after, limit=bite)
            if swept.upto is None or swept.young:
                break
            after = swept.upto
            await pause(stop, _CHEW)
