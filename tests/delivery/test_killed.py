"""What is missing when a worker is killed in the middle of its work? Nothing."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from zvonar.store.db import Database

from .receiver import Post, Receiver, take
from .world import happened, until_states

TESTS = Path(__file__).parents[1]


@asynccontextmanager
async def victim(dsn: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "delivery.victim"),
        env={**os.environ, "ZVONAR_TEST_DSN": dsn, "PYTHONPATH": str(TESTS)},
    )
    try:
        yield
    finally:
        assert process.returncode is None, "it ended by itself"
        process.kill()
        await process.wait()


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_a_killed_worker_loses_nothing_and_repeats_only_the_same(dsn: str, db: Database) -> None:
    async def think(post: Post) -> web.StreamResponse:
        await asyncio.sleep(random.random() * 0.02)  # so that the kill finds some on their way
        return await take(post)

    async with Receiver(think) as receiver:
        events = await happened(db, receiver.url(), [call for _ in range(15) for call in range(40)])
        for share in range(1, 6):
            async with victim(dsn):
                await receiver.until(lambda r, share=share: len(r.posts) >= share * 100)  # type: ignore[misc]
        async with victim(dsn):
            await until_states(db, delivered=len(events))
    assert {post.event_id for post in receiver.taken} == set(events)
    assert receiver.kept_order()
    bodies: dict[int, set[bytes]] = {}
    calls: dict[int, list[int]] = {}
    for post in receiver.posts:
        bodies.setdefault(post.event_id, set()).add(post.body)
        calls.setdefault(post.said["call"], []).append(post.event_id)
    assert all(len(same) == 1 for same in bodies.values())
    # A repetition comes before anything later of its call, not after it.
    assert all(tried == sorted(tried) for tried in calls.values())
    assert len(receiver.posts) < 2 * len(events)
