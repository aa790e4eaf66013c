"""What is missing, and what is there twice, when pushing processes are killed in the middle of a request? Nothing."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from zvonar.store.db import Database

from ..victims import victim
from .sink import Asked, Proceed, Sink
from .world import connected, ended, log, phone, uniq, until_done

TESTS = Path(__file__).parents[3]
KILLS, CALLS = 12, 900

pytestmark = pytest.mark.asyncio


def posts(sink: Sink) -> list[Asked]:
    return sink.requests("POST", "/api/v4/calls")


async def test_each_call_is_logged_once_though_its_process_was_killed(
    db: Database, dsn: str, sink: Sink
) -> None:
    async def think(asked: Asked, proceed: Proceed) -> web.StreamResponse:
        """Some are stored before the kill finds them, some after, and some never."""
        await asyncio.sleep(random.random() * 0.05)
        answer = await proceed()
        await asyncio.sleep(random.random() * 0.05)
        return answer

    sink.behave = think
    for call in range(1, CALLS + 1):
        sink.contact(phone(call))
    await connected(db, sink.url)
    await ended(db, range(1, CALLS + 1))
    async with AsyncExitStack() as stack:
        warm = [
            await stack.enter_async_context(victim(dsn, "tests.delivery.crm.victim", path=TESTS))
            for _ in range(2)
        ]
        for _ in range(KILLS):
            at_work = warm.pop(0)
            await at_work.begin()
            warm.append(await stack.enter_async_context(victim(dsn, "tests.delivery.crm.victim", path=TESTS)))
            seen = len(posts(sink))
            # As a request has come in, its calls are at the CRM, or about to be, and the answer is not here yet.
            await sink.until(lambda s, seen=seen: len(posts(s)) > seen or len(s.logged()) == CALLS)  # type: ignore[misc]
            await at_work.kill()
        await warm.pop(0).begin()
        await until_done(db, CALLS)
    assert set(sink.logged().values()) == {1}
    assert set(sink.logged()) == {uniq(call) for call in range(1, CALLS + 1)}
    assert {row.state for row in await log(db)} == {"logged"}
