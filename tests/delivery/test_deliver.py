"""Is every event told, once it has happened, in its order, whatever the receivers do?"""

import asyncio
import random
from collections import Counter
from collections.abc import MutableMapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from aiohttp import web
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from structlog.testing import capture_logs

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.lanes import Limits
from zvonar.store import outbox
from zvonar.store.db import Database
from zvonar.store.outbox import Event, Rendered

from ..ports import free_port
from .receiver import DEADLINE, Post, Receiver, take
from .world import QUICK, Counted, deliveries, eventually, happened, now, render, until_states, worker

pytestmark = pytest.mark.asyncio


async def told(logs: Sequence[MutableMapping[str, Any]], event: str) -> bool:
    return any(entry["event"] == event for entry in logs)


async def test_every_event_arrives_with_its_headers(db: Database, receiver: Receiver) -> None:
    meters, began = Counted(), int(now().timestamp())
    async with worker(db, meters=meters):
        events = await happened(db, receiver.url(), [call for call in range(40) for _ in range(5)])
        await receiver.until(lambda r: len(r.taken) == 200)
        await until_states(db, delivered=200)
    assert [post.event_id for post in sorted(receiver.posts, key=lambda post: post.event_id)] == events
    for post in receiver.posts:
        assert post.headers["Content-Type"] == "application/json"
        assert post.attempt == 1
        assert began <= int(post.headers["Zvonar-Timestamp"]) <= now().timestamp()
        assert post.said["event"] == post.event_id
    assert receiver.kept_order()
    assert (meters.events, len(meters.lags), meters.errors) == (200, 200, [])
    assert meters.kinds == {"test"}
    assert all(lag > 0 for lag in meters.lags)
    assert meters.most_in_flight <= QUICK.total


async def test_what_happened_before_the_start_is_told_too(db: Database, receiver: Receiver) -> None:
    await happened(db, receiver.url(), [1, 2, 3])
    async with worker(db):
        await receiver.until(lambda r: len(r.taken) == 3)


async def test_an_event_that_concerns_nobody_is_done_with(db: Database, receiver: Receiver) -> None:
    def deaf(_: Event) -> tuple[()]:
        return ()

    meters = Counted()
    async with worker(db, deaf, meters=meters):
        await happened(db, receiver.url(), [1])
        await eventually(lambda: db.value("SELECT count(*) = 0 FROM outbox WHERE fanned_out_at IS NULL"))
    assert await deliveries(db) == []


async def test_the_events_of_a_call_stay_in_order_while_the_receiver_fails(
    db: Database, receiver: Receiver
) -> None:
    async def stumble(post: Post) -> web.StreamResponse:
        failing = post.attempt <= post.event_id % 3
        return web.Response(status=500) if failing else await take(post)

    receiver.behave = stumble
    calls = [call for _ in range(6) for call in range(25)]
    async with worker(db):
        events = await happened(db, receiver.url(), calls)
        await receiver.until(lambda r: len(r.taken) == 150)
        rows = await until_states(db, delivered=150)
    assert receiver.kept_order()
    assert [post.event_id for post in receiver.posts if post.attempt == 2] != []
    assert {row.event_id: row.tries for row in rows} == {event: event % 3 + 1 for event in events}


async def test_a_receiver_that_was_down_misses_nothing(db: Database) -> None:
    after = Receiver(port=free_port())
    meters = Counted()
    async with worker(db, meters=meters):
        await happened(db, after.url(), [call for call in range(20) for _ in range(3)])
        await meters.until_failed(30)
        async with after:
            await after.until(lambda r: len(r.taken) == 60)
            rows = await until_states(db, delivered=60)
    assert set(meters.errors) == {"connect"}
    assert after.kept_order()
    assert all(row.last_error is None and row.last_status == 200 for row in rows)


async def test_after_an_outage_an_address_is_not_run_over(db: Database) -> None:
    down, held = True, 0
    seen: list[tuple[int, int]] = []  # how many were taken, and held at once

    async def recover(post: Post) -> web.StreamResponse:
        nonlocal held
        if down:
            return web.Response(status=503)
        held += 1
        seen.append((len(receiver.taken), held))
        await asyncio.sleep(0.1)  # so that those sent together are here together
        held -= 1
        return await take(post)

    meters = Counted()
    async with Receiver(recover) as receiver, worker(db, meters=meters):
        await happened(db, receiver.url(), range(100))
        await meters.until_failed(100)
        down = False
        await receiver.until(lambda r: len(r.taken) == 100)
    # One at a time at first, then 2, 4, … up to the usual.
    assert all(together <= 2**taken for taken, together in seen)
    assert max(together for _, together in seen) > 4


async def test_tried_in_vain_to_the_end_it_is_dead_and_the_next_goes_on(
    db: Database, receiver: Receiver
) -> None:
    refused: list[int] = []

    async def refuse(post: Post) -> web.StreamResponse:
        return web.Response(status=404) if post.event_id in refused else await take(post)

    receiver.behave = refuse
    meters = Counted()
    first, second = await happened(db, receiver.url(), [7, 7])
    refused.append(first)
    async with worker(db, meters=meters, backoff=Backoff(pauses=(0.01, 0.01, 0.01))):
        dead, taken = await until_states(db, dead=1, delivered=1)
    assert (dead.event_id, dead.tries, dead.last_status, dead.last_error) == (first, 4, 404, "status")
    assert (taken.event_id, taken.tries) == (second, 1)
    assert [post.event_id for post in receiver.posts] == [first] * 4 + [second]
    assert [post.attempt for post in receiver.posts] == [1, 2, 3, 4, 1]
    assert len({post.body for post in receiver.posts[:4]}) == 1
    assert (meters.errors, meters.dead) == (["status"] * 4, 1)


async def test_a_slow_receiver_delays_no_other(db: Database, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def hang(post: Post) -> web.StreamResponse:
        await release.wait()
        return await take(post)

    limits = Limits(poll=0.02, per_address=4, total=16)
    async with Receiver(hang) as slow, worker(db, limits=limits):
        await happened(db, slow.url(), range(200))
        await slow.until(lambda r: len(r.posts) == 4)
        await happened(db, receiver.url(), range(1000, 1200))
        await receiver.until(lambda r: len(r.taken) == 200)
        assert (len(slow.posts), slow.taken) == (4, [])
        release.set()
        await slow.until(lambda r: len(r.taken) == 200)


async def test_an_answer_that_takes_too_long_is_a_failure(db: Database, receiver: Receiver) -> None:
    async def hang_once(post: Post) -> web.StreamResponse:
        if post.attempt == 1:
            await asyncio.Event().wait()
        return await take(post)

    receiver.behave = hang_once
    meters = Counted()
    async with worker(db, meters=meters, timeout=1.0):
        await happened(db, receiver.url(), [1])
        await receiver.until(lambda r: len(r.taken) == 1)
    assert set(meters.errors) == {"timeout"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, db: Database, receiver: Receiver) -> None:
    async with Receiver() as elsewhere:

        async def redirect(_: Post) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": elsewhere.url("inside")})

        receiver.behave = redirect
        async with worker(db, backoff=Backoff(pauses=(0.01,))):
            await happened(db, receiver.url(), [1])
            (row,) = await until_states(db, dead=1)
    assert (row.last_status, row.last_error, row.tries) == (status, "redirect", 2)
    assert elsewhere.posts == []


async def test_only_allowed_addresses_are_reached(db: Database, receiver: Receiver) -> None:
    async with worker(db, allowed=(), backoff=Backoff(pauses=(0.01,))):
        await happened(db, receiver.url(), [1])
        (row,) = await until_states(db, dead=1)
    assert (row.last_status, row.last_error) == (None, "guarded")
    assert receiver.posts == []


async def test_neither_addresses_nor_bodies_are_logged(db: Database, receiver: Receiver) -> None:
    async def refuse(_: Post) -> web.StreamResponse:
        return web.Response(status=500, text="+79991234567")

    receiver.behave = refuse
    with capture_logs() as logs:
        async with worker(db, backoff=Backoff(pauses=(0.01,))):
            await happened(db, receiver.url("secret-key"), [1])
            await happened(db, "http://secret-key.invalid:1/", [2])
            await happened(db, "http://[secret-key/", [3])
            await until_states(db, dead=3)
    assert sum(entry["event"] == "delivery.dead" for entry in logs) == 3
    assert not any(word in str(logs) for word in ("secret-key", "127.0.0.1", "999"))


async def test_several_workers_share_the_work(dsn: str, db: Database, receiver: Receiver) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            other = await stack.enter_async_context(Database(dsn, size=4))
            await stack.enter_async_context(worker(other))
        for _ in range(10):
            await happened(db, receiver.url(), random.choices(range(30), k=50))
        await receiver.until(lambda r: len(r.taken) == 500)
        rows = await until_states(db, delivered=500)
    assert max(Counter(post.event_id for post in receiver.posts).values()) == 1
    assert receiver.kept_order()
    assert {row.tries for row in rows} == {1}


async def test_a_stop_waits_for_what_is_in_flight(db: Database, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def wait(post: Post) -> web.StreamResponse:
        await release.wait()
        return await take(post)

    receiver.behave = wait
    async with worker(db) as stop:
        await happened(db, receiver.url(), range(4))
        await receiver.until(lambda r: len(r.posts) == 4)
        stop.set()
        await happened(db, receiver.url(), range(5, 10))
        release.set()
    assert Counter(row.state for row in await deliveries(db))["delivered"] == 4
    assert len(receiver.posts) == 4


async def test_a_stop_does_not_wait_for_ever(db: Database, receiver: Receiver) -> None:
    async def hang(_: Post) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.behave = hang
    limits = Limits(poll=0.02, drain=0.1, lease=0.3)
    async with asyncio.timeout(DEADLINE), worker(db, limits=limits) as stop:
        await happened(db, receiver.url(), [1])
        await receiver.until(lambda r: len(r.posts) == 1)
        stop.set()
    assert [(row.state, row.tries) for row in await deliveries(db)] == [("pending", 0)]
    # It was not lost: the next worker sends it once its lease has run out.
    receiver.behave = take
    async with worker(db):
        await receiver.until(lambda r: len(r.taken) == 1)
    assert receiver.posts[0].body == receiver.posts[1].body


async def test_a_database_that_goes_away_delays_and_loses_nothing(
    postgres: str, dsn: str, db: Database, receiver: Receiver
) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    admin = await psycopg.AsyncConnection.connect(make_conninfo(postgres), autocommit=True)
    async with admin, worker(db):
        first = await happened(db, receiver.url(), range(50))
        await receiver.until(lambda r: len(r.posts) >= 10)
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user",
            (name,),
        )
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(psycopg.OperationalError):
                await psycopg.AsyncConnection.connect(dsn)
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        async with Database(dsn, size=1) as again:
            second = await happened(again, receiver.url(), range(50))
            await until_states(again, delivered=100)
    assert {post.event_id for post in receiver.taken} == {*first, *second}
    assert receiver.kept_order()


async def test_an_event_that_cannot_be_rendered_stops_only_its_own_call(
    db: Database, receiver: Receiver
) -> None:
    """The rest goes on, later ones of the call wait, and all is told in order once it can be."""
    broken = True

    def stumble(event: Event) -> Sequence[Rendered]:
        if broken and event.payload["place"] == 1:
            raise KeyError("+79991234567")
        return render(event)

    meters = Counted()
    with capture_logs() as logs:
        async with worker(db, stumble, meters=meters, backoff=Backoff(pauses=(3600.0,))):
            events = await happened(db, receiver.url(), [1, 7, 2, 7, 7, 3])
            await receiver.until(lambda r: len(r.taken) == 3)
            await eventually(lambda: told(logs, "delivery.cannot_render"))
            assert [post.event_id for post in receiver.taken] == [events[0], events[2], events[5]]
            found = await outbox.lag(db, now=now())
            assert (found.events, found.unrendered) == (0, 3)
            broken = False
            await db.execute("UPDATE outbox SET render_at = now() WHERE render_error IS NOT NULL")
            await receiver.until(lambda r: len(r.taken) == 6)
    assert meters.aside == 1
    assert f"'event_id': {events[1]}, 'error': 'KeyError'" in str(logs)
    assert "999" not in str(logs)
    assert receiver.kept_order()


async def test_an_event_that_never_can_be_rendered_is_passed_in_the_end(
    db: Database, receiver: Receiver
) -> None:
    def stumble(event: Event) -> Sequence[Rendered]:
        if event.payload["place"] == 0:
            raise ValueError
        return render(event)

    meters = Counted()
    async with worker(db, stumble, meters=meters, backoff=Backoff(pauses=(0.01, 0.01))):
        _, second = await happened(db, receiver.url(), [7, 7])
        await receiver.until(lambda r: len(r.taken) == 1)
    assert receiver.taken[0].event_id == second
    assert meters.aside == 3
    assert (await outbox.lag(db, now=now())).unrendered == 1
