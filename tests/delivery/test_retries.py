"""When is each try made, and what is kept of it? With a clock that the test moves: a day and more in a second."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from aiohttp import web

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.lanes import Limits
from zvonar.store import delivery_log
from zvonar.store.db import Database
from zvonar.store.delivery_log import Attempt

from .receiver import DEADLINE, Post, Receiver, take
from .world import Moving, happened, until_states, worker

pytestmark = pytest.mark.asyncio

PAUSES = (5, 30, 120, 600, 1800, 7200, 18000, 36000, 36000)
# A lease longer than any jump of the clock.
LIMITS = Limits(poll=0.01, lease=10**6)


async def next_at(db: Database) -> datetime | None:
    found = await db.value("SELECT next_at FROM deliveries WHERE state = 'pending' AND tries > 0")
    return found if isinstance(found, datetime) else None


async def tries_of(db: Database) -> Sequence[Attempt]:
    (entry,) = await delivery_log.find(db, delivery_log.Filter(), limit=9)
    _, attempts = await delivery_log.show(db, entry.delivery_id)
    return attempts


async def recorded(db: Database, tries: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await db.value("SELECT count(*) = 1 FROM deliveries WHERE tries = %s", [tries]):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("roll", [0.0, 0.5, 1.0])
async def test_tries_are_made_at_exactly_their_times_and_then_it_is_dead(
    roll: float, db: Database, receiver: Receiver
) -> None:
    async def refuse(_: Post) -> web.StreamResponse:
        return web.Response(status=500)

    receiver.behave = refuse
    clock = Moving()
    async with worker(db, clock=clock, limits=LIMITS, backoff=Backoff(), roll=lambda: roll):
        await happened(db, receiver.url(), [1])
        for tries, pause in enumerate(PAUSES, start=1):
            await recorded(db, tries)
            due = clock.now + timedelta(seconds=pause * (0.9 + 0.2 * roll))
            assert await next_at(db) == due
            # A moment before, nothing happens, however often the worker looks.
            clock.now = due - timedelta(milliseconds=1)
            await asyncio.sleep(0.05)
            assert len(receiver.posts) == tries
            clock.now = due
        await recorded(db, 10)
        (row,) = await until_states(db, dead=1)
    assert (row.tries, row.last_status, row.last_error) == (10, 500, "status")
    assert [post.attempt for post in receiver.posts] == list(range(1, 11))
    times = [int(post.headers["Zvonar-Timestamp"]) for post in receiver.posts]
    assert times == [int(attempt.at.timestamp()) for attempt in await tries_of(db)]


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "90", 90),
        (503, "Sat, 22 Nov 2025 12:10:00 GMT", 600),
        (500, "3", 3),
        (404, "1000000000", 86_400),
        (302, "60", 60),
        (429, "soon", 5),
    ],
)
async def test_a_receiver_that_says_when_is_tried_then(
    status: int, header: str, seconds: float, db: Database, receiver: Receiver
) -> None:
    async def later(post: Post) -> web.StreamResponse:
        if post.attempt == 1:
            return web.Response(status=status, headers={"Retry-After": header})
        return await take(post)

    receiver.behave = later
    clock = Moving()
    async with worker(db, clock=clock, limits=LIMITS, backoff=Backoff(jitter=0.0)):
        await happened(db, receiver.url(), [1])
        await recorded(db, 1)
        assert await next_at(db) == clock.now + timedelta(seconds=seconds)
        clock.pass_time(seconds=seconds)
        await receiver.until(lambda r: len(r.taken) == 1)


async def test_a_later_event_waits_up_to_the_death_of_an_earlier_one(
    db: Database, receiver: Receiver
) -> None:
    async def refuse_first(post: Post) -> web.StreamResponse:
        return web.Response(status=500) if post.event_id == first else await take(post)

    receiver.behave = refuse_first
    clock = Moving()
    first = 0
    async with worker(db, clock=clock, limits=LIMITS, backoff=Backoff()):
        first, second = await happened(db, receiver.url(), [7, 7])
        for tries, pause in enumerate(PAUSES, start=1):
            await recorded(db, tries)
            assert receiver.taken == []
            clock.pass_time(seconds=pause * 1.1)
        await receiver.until(lambda r: len(r.taken) == 1)
    assert receiver.taken[0].event_id == second
    assert [post.event_id for post in receiver.posts] == [first] * 10 + [second]


async def test_each_try_is_kept_with_its_answer(db: Database, receiver: Receiver) -> None:
    async def stumble(post: Post) -> web.StreamResponse:
        if post.attempt == 1:
            return web.Response(status=500, text="Э" * 600)  # 1,200 bytes
        if post.attempt == 2:
            raise web.HTTPFound("http://inside.example/")
        return await take(post)

    receiver.behave = stumble
    async with worker(db):
        await happened(db, receiver.url(), [1])
        await until_states(db, delivered=1)
    attempts = await tries_of(db)
    assert [(one.attempt, one.status, one.error) for one in attempts] == [
        (1, 500, "status"),
        (2, 302, "redirect"),
        (3, 200, None),
    ]
    assert [len(one.answer) for one in attempts] == [1024, len("302: Found"), 2]
    assert attempts[-1].answer == b"ok"
    assert all(one.latency >= 0 for one in attempts)
    assert attempts[0].at <= attempts[1].at <= attempts[2].at


async def test_a_dead_one_sent_again_has_all_its_tries_before_it(db: Database, receiver: Receiver) -> None:
    refusing = True

    async def refuse(post: Post) -> web.StreamResponse:
        return web.Response(status=500) if refusing else await take(post)

    receiver.behave = refuse
    async with worker(db, backoff=Backoff(pauses=(0.01,))):
        await happened(db, receiver.url(), [1])
        await until_states(db, dead=1)
        (entry,) = await delivery_log.find(db, delivery_log.Filter(state="dead"), limit=9)
        assert await delivery_log.retry(db, delivery_log.Filter(state="dead"), now=entry.event_at) == 1
        await recorded(db, 4)
        await until_states(db, dead=1)
        refusing = False
        assert await delivery_log.retry_one(db, entry.delivery_id, now=entry.event_at)
        (row,) = await until_states(db, delivered=1)
    assert row.tries == 5
    assert [post.attempt for post in receiver.posts] == [1, 2, 3, 4, 5]
    assert len({post.body for post in receiver.posts}) == 1
    assert len(await tries_of(db)) == 5


async def test_a_get_asks_for_its_own_url_and_is_kept_under_its_address(
    db: Database, receiver: Receiver
) -> None:
    template = receiver.url("postback?id={id}")
    async with worker(db):
        for number in (1, 2):
            url = receiver.url(f"postback?id={number}&st=%D0%94")
            await happened(db, template, [number], method="GET", url=url)
        await receiver.until(lambda r: len(r.taken) == 2)
        await until_states(db, delivered=2)
    assert sorted(post.path for post in receiver.taken) == [
        "/postback?id=1&st=%D0%94",
        "/postback?id=2&st=%D0%94",
    ]
    assert {(post.method, post.body, post.headers.get("Content-Type")) for post in receiver.taken} == {
        ("GET", b"", None)
    }
    assert {entry.address for entry in await delivery_log.find(db, delivery_log.Filter(), limit=9)} == {
        template
    }
