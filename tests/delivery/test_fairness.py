"""Does one receiver's trouble delay another? Not the slow, not the dead, not the nameless."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from zvonar.delivery.lanes import Limits
from zvonar.delivery.post import Poster
from zvonar.store.db import Database

from .receiver import Post, Receiver, take
from .world import LOOPBACK, happened, worker

pytestmark = pytest.mark.asyncio


async def test_many_slow_receivers_do_not_use_up_the_places_of_a_quick_one(
    db: Database, receiver: Receiver
) -> None:
    """Each of them answers well, though only after long: none has failed, and together they want every place."""
    release = asyncio.Event()

    async def just_in_time(post: Post) -> web.StreamResponse:
        await release.wait()
        return await take(post)

    limits = Limits(poll=0.02, total=16, per_address=4)
    async with Receiver(just_in_time) as slow, worker(db, limits=limits):
        await happened(db, receiver.url(), range(4))
        await receiver.until(lambda r: len(r.taken) == 4)
        for number in range(20):
            await happened(db, slow.url(str(number)), range(8))
        await slow.until(lambda r: len(r.posts) == limits.slow)
        # Their own addresses: the whole half is taken, and stays so.
        await happened(db, receiver.url(), range(100, 300))
        await receiver.until(lambda r: len(r.taken) == 204)
        assert (len(slow.posts), slow.taken) == (limits.slow, [])
        release.set()
        await slow.until(lambda r: len(r.taken) == 160)


async def test_dead_receivers_with_a_backlog_do_not_delay_a_living_one(
    db: Database, receiver: Receiver
) -> None:
    """Refusing, silent and failing ones, each with more than fits; a living one gets its events in between."""
    never = asyncio.Event()

    async def hang(_: Post) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    async def refuse(_: Post) -> web.StreamResponse:
        return web.Response(status=500)

    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(Receiver(hang))
        failing = await stack.enter_async_context(Receiver(refuse))
        limits = Limits(poll=0.02, total=16, per_address=4, drain=0.1)
        await stack.enter_async_context(worker(db, limits=limits, timeout=30.0))
        await happened(db, receiver.url(), range(4))
        await receiver.until(lambda r: len(r.taken) == 4)
        for number in range(15):
            for url in (silent.url(str(number)), failing.url(str(number)), f"http://127.0.0.1:1/{number}"):
                await happened(db, url, range(10))
        for batch in range(5):
            await happened(db, receiver.url(), range(100 * batch, 100 * batch + 40))
            wanted = 4 + 40 * (batch + 1)
            await receiver.until(lambda r, wanted=wanted: len(r.taken) == wanted)  # type: ignore[misc]
        assert len(silent.posts) <= limits.slow
        assert silent.taken == []


@pytest.fixture
def hanging_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names whose name server never answers; no question leaves this machine."""
    release = threading.Event()

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if str(host).startswith("hangs"):
            release.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    release.set()


@pytest.mark.usefixtures("hanging_names")
async def test_a_name_server_that_does_not_answer_is_in_nobody_elses_way(receiver: Receiver) -> None:
    headers = {"Zvonar-Event-Id": "1", "Zvonar-Attempt": "1"}
    async with Poster(allowed=LOOPBACK, timeout=30.0) as poster, asyncio.TaskGroup() as group:
        hung = [
            group.create_task(poster.post(f"http://hangs{number}.example/", b"{}", headers))
            for number in range(60)
        ]
        await asyncio.sleep(0.05)  # so that they all are being looked up
        answer = await poster.post(f"http://good.example:{receiver.port}/", b"{}", headers)
        assert answer.status == 200
        assert not any(one.done() for one in hung)
        for one in hung:
            one.cancel()
