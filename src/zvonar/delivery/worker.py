"""Who tells the outside? Fan-out and sender side by side, woken by the database, until told to stop."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from zvonar.delivery import signing
from zvonar.delivery.backoff import Backoff
from zvonar.delivery.crm import render as crm_render
from zvonar.delivery.crm.pusher import Crm, Pusher
from zvonar.delivery.fanout import Fanout
from zvonar.delivery.guard import IPNetwork
from zvonar.delivery.lanes import Limits
from zvonar.delivery.mail import MailTransport, Smtp
from zvonar.delivery.meters import DeliveryMeters, NoMeters
from zvonar.delivery.post import HttpTransport, Poster
from zvonar.delivery.sender import Sender
from zvonar.delivery.signing import Signers
from zvonar.delivery.sweeper import tidy
from zvonar.delivery.verdict import Transport
from zvonar.store.db import Database
from zvonar.store.outbox import Recorder, Renderer
from zvonar.store.workers import Identity


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


async def deliver(
    db: Database,
    render: Renderer,
    *,
    stop: asyncio.Event,
    allowed: Sequence[IPNetwork] = (),
    smtp: Smtp | None = None,
    transports: Mapping[str, Transport] | None = None,
    limits: Limits | None = None,
    backoff: Backoff | None = None,
    timeout: float = 10.0,
    keep: timedelta = timedelta(days=30),
    meters: DeliveryMeters | None = None,
    clock: Callable[[], datetime] = utc_now,
    roll: Callable[[], float] = random.random,
    record: Recorder | None = None,
    crm: Crm | None = None,
) -> None:
    """Deliver every event until `stop`; returns once what was in flight then has ended, or `limits.drain` passed.

    `allowed`: networks that deliveries may reach beside public ones. `timeout`: seconds for one answer. `keep`: how
    long what was delivered is kept. `transports`: by the scheme of an address, beside http, https and mailto. `record`:
    keeps what events mean to the house itself, in the transaction of their fan-out. `crm`: what pushing calls into CRMs
    needs; without it none are. Outlives the database: waits while it is away. Any number of these may share one.
    """
    meters, backoff, limits = meters or NoMeters(), backoff or Backoff(), limits or Limits()
    async with Poster(allowed=allowed, timeout=timeout) as poster:
        http = HttpTransport(poster, Signers(signing.stored(db, clock)))
        ways: dict[str, Transport] = {"http": http, "https": http, "mailto": MailTransport(smtp)}
        rings: list[Callable[[], None]] = []

        def ring() -> None:
            for one in rings:
                one()

        identity = Identity(db, freed=ring, clock=clock)
        sender = Sender(
            db,
            {**ways, **(transports or {})},
            identity,
            limits=limits,
            backoff=backoff,
            meters=meters,
            clock=clock,
            roll=roll,
        )
        rings.append(sender.ring)
        look = None if crm is None else crm_render.looking(crm.links)
        fanout = Fanout(
            db,
            render,
            made=ring,
            backoff=backoff,
            meters=meters,
            clock=clock,
            record=record,
            look=look,
        )
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(_listen(db, fanout.bell.ring, ring))
            keeper = group.create_task(identity.keep(limits.poll))
            group.create_task(fanout.run(stop))
            group.create_task(tidy(db, keep=keep, stop=stop, clock=clock))
            sending = [group.create_task(sender.run(stop))]
            if crm is not None:
                pusher = Pusher(
                    db, crm, identity, allowed=allowed, backoff=backoff, meters=meters, clock=clock, roll=roll
                )
                rings.append(pusher.bell.ring)
                sending.append(group.create_task(pusher.run(stop)))
            await stop.wait()
            fanout.bell.ring()
            ring()
            listener.cancel()
            for one in sending:
                await one
            keeper.cancel()


async def _listen(db: Database, grew: Callable[[], None], made: Callable[[], None]) -> None:
    async for channel in db.notifications("zvonar_outbox", "zvonar_deliveries"):
        if channel == "zvonar_outbox":
            grew()
        else:
            made()
