"""What is missing when workers are killed in the middle of their work? Nothing."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from zvonar.store.db import Database

from .receiver import Post, Receiver, take
from .victims import victim
from .world import happened, until_states, worker

TESTS = Path(__file__).parents[1]
KILLS, EVENTS, CALLS = 50, 5000, 500

pytestmark = pytest.mark.asyncio


async def think(post: Post) -> web.StreamResponse:
    await asyncio.sleep(random.random() * 0.02)  # so that the kill finds some on their way
    return await take(post)


async def test_fifty_killed_workers_lose_nothing_and_repeat_only_the_same(dsn: str, db: Database) -> None:
    async with Receiver(think) as receiver, AsyncExitStack() as stack:
        # Two receivers, so that a call has an order at each of two addresses.
        events = [
            *await happened(db, receiver.url("a"), [call for _ in range(5) for call in range(CALLS)]),
            *await happened(db, receiver.url("b"), [call for _ in range(5) for call in range(CALLS)]),
        ]
        assert len(events) == EVENTS
        warm = [await stack.enter_async_context(victim(dsn, "delivery.victim", path=TESTS)) for _ in range(3)]
        for number in range(1, KILLS + 1):
            at_work = warm.pop(0)
            await at_work.begin()
            warm.append(await stack.enter_async_context(victim(dsn, "delivery.victim", path=TESTS)))
            until = number * EVENTS // (KILLS + 10)
            await receiver.until(lambda r, until=until: len(r.posts) >= until)  # type: ignore[misc]
            await at_work.kill()
        await warm.pop(0).begin()
        await until_states(db, delivered=EVENTS)
    assert {post.event_id for post in receiver.taken} == set(events)
    bodies: dict[int, set[bytes]] = {}
    calls: dict[tuple[str, int], list[int]] = {}
    for post in receiver.posts:
        bodies.setdefault(post.event_id, set()).add(post.body)
        calls.setdefault((post.path, post.said["call"]), []).append(post.event_id)
    assert all(len(same) == 1 for same in bodies.values())
    # A repetition comes before anything later of its call, not after it.
    assert all(tried == sorted(tried) for tried in calls.values())
    assert len(calls) == 2 * CALLS
    again = Counter(post.event_id for post in receiver.posts)
    assert sum(again.values()) - EVENTS < KILLS * 150, "more was repeated than can have been on its way"


async def test_what_a_killed_worker_held_goes_on_elsewhere_at_once(dsn: str, db: Database) -> None:
    """Another worker is up already, and no lease has run out: an hour is left of each."""
    never = asyncio.Event()

    async def hang_first(post: Post) -> web.StreamResponse:
        if len(receiver.posts) <= 4:
            await never.wait()
        return await take(post)

    async with Receiver(hang_first) as receiver, victim(dsn, "delivery.victim", path=TESTS) as doomed:
        await doomed.begin()
        await happened(db, receiver.url(), range(4))
        await receiver.until(lambda r: len(r.posts) == 4)
        async with worker(db):
            await doomed.kill()
            await receiver.until(lambda r: len(r.taken) == 4)
            rows = await until_states(db, delivered=4)
    assert {row.tries for row in rows} == {1}
