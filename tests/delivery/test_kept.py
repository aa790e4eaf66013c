"""What is forgotten, and when? And who is known to be dead?"""

import asyncio
from datetime import timedelta

import pytest

from zvonar.delivery import sweeper
from zvonar.store import deliveries as store
from zvonar.store.db import Database
from zvonar.store.workers import Identity

from .receiver import Receiver
from .world import deliveries, eventually, happened, now, until_states, worker

pytestmark = pytest.mark.asyncio


async def counts(db: Database) -> tuple[int, int, int]:
    return (
        await db.value("SELECT count(*) FROM outbox"),
        await db.value("SELECT count(*) FROM deliveries"),
        await db.value("SELECT count(*) FROM delivery_attempts"),
    )


async def test_only_what_was_delivered_long_ago_is_forgotten(db: Database, receiver: Receiver) -> None:
    async with worker(db):
        await happened(db, receiver.url(), range(30))
        await until_states(db, delivered=30)
    old = now() - timedelta(days=31)
    await db.execute("UPDATE outbox SET at = %s, fanned_out_at = %s WHERE event_id <= 20", [old, old])
    await db.execute(
        "UPDATE deliveries SET created_at = %s, delivered_at = %s WHERE event_id <= 20", [old, old]
    )
    # What is dead, waits or was never fanned out is kept however old it is.
    await db.execute("UPDATE deliveries SET state = 'dead' WHERE event_id <= 3")
    await db.execute("UPDATE deliveries SET state = 'disabled' WHERE event_id = 4")
    await db.execute("UPDATE deliveries SET state = 'pending' WHERE event_id = 5")
    await db.execute("UPDATE outbox SET fanned_out_at = NULL WHERE event_id = 6")
    before = now() - timedelta(days=30)
    await sweeper.sweep(db, before=before, stop=asyncio.Event(), bite=7)
    assert await counts(db) == (11, 15, 15)
    assert [row.event_id for row in await deliveries(db)] == [*range(1, 6), *range(21, 31)]
    await sweeper.sweep(db, before=before, stop=asyncio.Event(), bite=7)
    assert await counts(db) == (11, 15, 15)


async def lease(db: Database, worker_id: int) -> list[int]:
    at = now()
    leased = await store.lease(
        db, worker_id=worker_id, now=at, until=at + timedelta(hours=1), limit=9, per_address=9, rooms={}
    )
    return [delivery.event_id for delivery in leased]


async def test_leases_of_a_dead_worker_are_free_and_those_of_a_living_one_are_not(
    dsn: str, db: Database
) -> None:
    rung = asyncio.Event()
    await happened(db, "http://a.example/", [1, 2])
    async with worker(db, allowed=()):
        await eventually(lambda: db.value("SELECT count(*) = 2 FROM deliveries"))
    await db.execute("UPDATE deliveries SET next_at = now(), state = 'pending', leased_until = NULL")
    async with Database(dsn, size=1) as theirs:
        first = Identity(db, freed=rung.set, clock=now)
        second = Identity(theirs, freed=rung.set, clock=now)
        mine = asyncio.create_task(first.keep(0.02))
        other = asyncio.create_task(second.keep(0.02))
        await first.known.wait()
        await second.known.wait()
        assert first.worker_id != second.worker_id
        assert len(await lease(db, second.worker_id)) == 2
        # While it lives, looking changes nothing.
        await asyncio.sleep(0.1)
        assert await lease(db, first.worker_id) == []
        assert not rung.is_set()
        # Its session ends without a word, as with a kill -9.
        await db.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 1515605071 AND objid = %s""",
            [second.worker_id],
        )
        dead = second.worker_id
        await rung.wait()
        assert len(await lease(db, first.worker_id)) == 2
        # It was not dead after all: it goes on under another number.
        await eventually(lambda: changed(second, dead))
        for task in (mine, other):
            task.cancel()
        await asyncio.gather(mine, other, return_exceptions=True)
    assert await db.value("SELECT count(*) FROM delivery_workers") == 0


async def changed(identity: Identity, dead: int) -> bool:
    return identity.known.is_set() and identity.worker_id != dead
