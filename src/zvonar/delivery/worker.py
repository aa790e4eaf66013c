"""Who tells the outside? Fan-out and sender side by side, woken by the database, until told to stop."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.fanout import Fanout
from zvonar.delivery.guard import IPNetwork
from zvonar.delivery.meters import DeliveryMeters, NoMeters
from zvonar.delivery.post import Poster
from zvonar.delivery.sender import Limits, Sender
from zvonar.store.db import Database
from zvonar.store.outbox import Renderer


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


async def deliver(
    db: Database,
    render: Renderer,
    *,
    stop: asyncio.Event,
    allowed: Sequence[IPNetwork] = (),
    limits: Limits | None = None,
    backoff: Backoff | None = None,
    timeout: float = 10.0,
    meters: DeliveryMeters | None = None,
    clock: Callable[[], datetime] = utc_now,
    roll: Callable[[], float] = random.random,
) -> None:
    """Deliver every event until `stop`; returns once what was in flight then has ended, or `limits.drain` passed.

    `allowed`: networks that deliveries may reach beside public ones. `timeout`: seconds for one POST.
    Outlives the database: waits while it is away. Any number of these may share one.
    """
    meters = meters or NoMeters()
    async with Poster(allowed=allowed, timeout=timeout) as poster:
        sender = Sender(
            db,
            poster,
            limits=limits or Limits(),
            backoff=backoff or Backoff(),
            meters=meters,
            clock=clock,
            roll=roll,
        )
        fanout = Fanout(db, render, made=sender.bell.ring, meters=meters, clock=clock)
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(_listen(db, fanout, sender))
            group.create_task(fanout.run(stop))
            group.create_task(sender.run(stop))
            await stop.wait()
            fanout.bell.ring()
            sender.bell.ring()
            listener.cancel()


async def _listen(db: Database, fanout: Fanout, sender: Sender) -> None:
    async for channel in db.notifications("zvonar_outbox", "zvonar_deliveries"):
        if channel == "zvonar_outbox":
            fanout.bell.ring()
        else:
            sender.bell.ring()
