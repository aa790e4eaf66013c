"""What has happened that somebody wants to hear? Events become deliveries as soon as they are committed."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from zvonar.core.errors import ZvonarError
from zvonar.delivery.bell import Bell, pause
from zvonar.delivery.meters import DeliveryMeters
from zvonar.store import outbox
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.outbox import Event, Rendered, Renderer

log = structlog.get_logger(__name__)

BATCH = 500  # events of one transaction
POLL = 1.0  # seconds between looks without a ring: another process's fan-out may have died with its lock
GATHER = 0.03  # seconds from a ring to the look, so that one transaction takes a flock of events
_PATIENCE = 2.0  # seconds between tries at a database that is away


class CannotRender(ZvonarError):
    """Deliveries stand still: an event cannot be rendered; upgrade Zvonar, or mark it as fanned out."""


class Fanout:
    """Turns events into deliveries. Any number may run; one at a time works."""

    def __init__(
        self,
        db: Database,
        render: Renderer,
        *,
        made: Callable[[], None],
        meters: DeliveryMeters,
        clock: Callable[[], datetime],
    ) -> None:
        self.bell = Bell()  # rings when the outbox grew
        self._db = db
        self._render = render
        self._made = made  # told when there are new deliveries
        self._meters = meters
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which comes with a ring."""
        wait = 0.1
        while not stop.is_set():
            try:
                events = await outbox.fan_out(self._db, self._rendered, now=self._clock(), limit=BATCH)
            except StoreUnavailable as exc:
                log.warning("delivery.fanout_waiting", reason=str(exc), pause=wait)
                await pause(stop, wait)
                wait = min(wait * 2, _PATIENCE)
                continue
            except CannotRender as exc:
                # Skipping it would lose it, and with it the order; what is fanned out already is still sent.
                log.error("delivery.cannot_render", reason=str(exc))
                await pause(stop, _PATIENCE)
                continue
            wait = 0.1
            if events:
                self._meters.fanned_out(events)
                self._made()
            if events < BATCH:
                await self.bell.heard(POLL)
                # A transaction for every event would cost more than the events; a moment gathers many.
                await pause(stop, GATHER)

    def _rendered(self, event: Event) -> Sequence[Rendered]:
        try:
            return self._render(event)
        except Exception as exc:  # whatever a dialect may stumble over, the event's number is what helps
            raise CannotRender(f"(event {event.event_id}, {type(exc).__name__})") from exc
