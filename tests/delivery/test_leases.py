"""Whose delivery is it? Leases, their order and their end."""

from datetime import datetime, timedelta

import pytest

from zvonar.store import deliveries as store
from zvonar.store import delivery_log
from zvonar.store.db import Database
from zvonar.store.deliveries import Delivery, Settlement

from .world import deliveries, fanned_out, happened, now

pytestmark = pytest.mark.asyncio

ME = 7
A, B = "http://a.example/", "http://b.example/"


async def lease(
    db: Database, *, limit: int = 100, per_address: int = 100, seconds: float = 60, **rooms: int
) -> list[Delivery]:
    at = now()
    return await store.lease(
        db,
        worker_id=ME,
        now=at,
        until=at + timedelta(seconds=seconds),
        limit=limit,
        per_address=per_address,
        rooms={f"http://{name}.example/": room for name, room in rooms.items()},
    )


def settlement(
    delivery: Delivery,
    until: datetime,
    *,
    status: int | None = None,
    error: str | None = None,
    next_at: datetime | None = None,
    gone: bool = False,
    worker_id: int = ME,
) -> Settlement:
    at = now()
    return Settlement(
        delivery=delivery,
        worker_id=worker_id,
        until=until,
        sent_at=at,
        at=at,
        latency=12,
        status=status,
        error=error,
        next_at=next_at,
        gone=gone,
        answer=b"ok",
    )


async def queued(db: Database, to: str, calls: list[int]) -> list[int]:
    events = await happened(db, to, calls)
    await fanned_out(db)
    return events


async def test_only_the_first_of_a_key_is_leased(db: Database) -> None:
    events = await queued(db, A, [1, 2, 1, 2, 1])
    assert [delivery.event_id for delivery in await lease(db)] == events[:2]
    assert await lease(db) == []


async def test_one_call_has_an_order_for_each_address(db: Database) -> None:
    events = await queued(db, A, [1]) + await queued(db, B, [1])
    assert [delivery.event_id for delivery in await lease(db)] == events


async def test_each_address_gets_its_share(db: Database) -> None:
    await queued(db, A, list(range(50)))
    await queued(db, B, list(range(50)))
    leased = await lease(db, per_address=5)
    assert sorted(delivery.address for delivery in leased) == [A] * 5 + [B] * 5
    leased = await lease(db, per_address=5, a=0, b=2)
    assert [delivery.address for delivery in leased] == [B] * 2
    assert len(await lease(db, limit=7)) == 7


async def test_a_lease_that_ran_out_is_somebody_elses(db: Database) -> None:
    await queued(db, A, [1])
    (mine,) = await lease(db, seconds=-1)
    (theirs,) = await lease(db)
    assert (mine.delivery_id, mine.body) == (theirs.delivery_id, theirs.body)


async def test_whoever_outlived_its_lease_has_no_say(db: Database) -> None:
    await queued(db, A, [1])
    past, ahead = now() - timedelta(seconds=1), now() + timedelta(seconds=60)
    common = {"worker_id": ME, "limit": 1, "per_address": 1, "rooms": {}}
    (mine,) = await store.lease(db, now=now(), until=past, **common)
    (theirs,) = await store.lease(db, now=now(), until=ahead, **common)
    late = settlement(mine, past, error="timeout")
    await store.settle(db, [late], now=now())
    assert [row.state for row in await deliveries(db)] == ["pending"]
    await store.settle(db, [settlement(theirs, ahead, status=204)], now=now())
    (row,) = await deliveries(db)
    assert (row.state, row.tries, row.last_status) == ("delivered", 1, 204)


async def test_a_batch_is_settled_each_its_own_way(db: Database) -> None:
    await queued(db, A, [1, 2, 3])
    at = now()
    until = at + timedelta(seconds=60)
    leased = await store.lease(db, worker_id=ME, now=at, until=until, limit=9, per_address=9, rooms={})
    ways = [(200, None, None), (500, "status", at + timedelta(seconds=5)), (None, "timeout", None)]
    settled = [
        settlement(delivery, until, status=status, error=error, next_at=next_at)
        for delivery, (status, error, next_at) in zip(leased, ways, strict=True)
    ]
    assert await store.settle(db, settled, now=at) == []
    assert [(row.state, row.tries, row.last_status, row.last_error) for row in await deliveries(db)] == [
        ("delivered", 1, 200, None),
        ("pending", 1, 500, "status"),
        ("dead", 1, None, "timeout"),
    ]
    assert await lease(db) == []


async def test_what_waits_behind_a_later_retry_is_put_off_until_then(db: Database) -> None:
    """Otherwise each lease would read the whole backlog of a receiver that is down."""
    await queued(db, A, list(range(100)) * 2)
    at = now()
    until = at + timedelta(seconds=60)
    leased = await store.lease(db, worker_id=ME, now=at, until=until, limit=200, per_address=200, rooms={})
    assert len(leased) == 100
    again = at + timedelta(hours=1)
    failed = [settlement(one, until, status=500, error="status", next_at=again) for one in leased]
    await store.settle(db, failed, now=at)
    due = "SELECT count(*) FROM deliveries WHERE next_at <= clock_timestamp()"
    assert await db.value(due) == 0
    # What happens meanwhile waits with the rest of its call.
    await queued(db, A, [0, 1, 1000])
    assert await db.value(due) == 1
    assert await db.value("SELECT count(*) FROM deliveries WHERE next_at = %s", [again]) == 202
    # One that is sent again at once takes its followers along.
    assert await delivery_log.retry_one(db, leased[0].delivery_id, now=now())
    assert await db.value(due) == 4
    first, other = await lease(db)
    assert (first.event_id, other.event_id) == (leased[0].event_id, 203)
    await store.settle(db, [settlement(first, await until_of(db, first), status=200)], now=now())
    (second,) = await lease(db)
    assert second.event_id == first.event_id + 100


async def test_followers_that_slipped_before_their_first_one_do_not_hide_it(db: Database) -> None:
    await queued(db, A, [1] * 200)
    await db.execute("UPDATE deliveries SET next_at = now() - interval '1 second' WHERE event_id = 1")
    await db.execute("UPDATE deliveries SET next_at = now() - interval '1 day' WHERE event_id > 1")
    for _ in range(30):
        leased = await lease(db, per_address=1)
        if leased:
            break
    assert [delivery.event_id for delivery in leased] == [1]


async def until_of(db: Database, delivery: Delivery) -> datetime:
    found = await db.value(
        "SELECT leased_until FROM deliveries WHERE delivery_id = %s", [delivery.delivery_id]
    )
    assert isinstance(found, datetime)
    return found


async def test_addresses_are_asked_for_by_name_too(db: Database) -> None:
    events = await queued(db, A, [1, 2, 1]) + await queued(db, B, [1])
    at = now()
    leased = await store.lease_from(
        db, worker_id=ME, now=at, until=at + timedelta(seconds=60), limit=9, rooms={A: 9}
    )
    assert [delivery.event_id for delivery in leased] == events[:2]
    assert [delivery.event_id for delivery in await lease(db)] == [events[3]]
