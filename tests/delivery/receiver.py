"""Who is told, and what do they answer? A real HTTP server on loopback that remembers every POST."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

DEADLINE = 90.0  # seconds; nothing here takes one unless the machine does much else


class Post(Struct, frozen=True, kw_only=True):
    """What came in."""

    method: str
    path: str  # with its query
    event_id: int
    attempt: int
    headers: dict[str, str]
    body: bytes
    at: datetime

    @property
    def said(self) -> Any:
        return msgspec.json.decode(self.body)


Behaviour = Callable[[Post], Awaitable[web.StreamResponse]]


async def take(_: Post) -> web.StreamResponse:
    """The usual answer."""
    return web.Response(text="ok")


class Receiver:
    """Listens on a port of its own from the start of the context; `port` may be given to come back on it."""

    def __init__(self, behave: Behaviour = take, *, port: int = 0) -> None:
        self.behave = behave
        self.port = port
        self.posts: list[Post] = []
        self.taken: list[Post] = []  # answered with 2xx
        self._log: list[tuple[bool, Post]] = []  # whether taken, or only tried
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._hear)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, path: str = "hook") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    async def until(self, what: Callable[["Receiver"], bool]) -> None:
        """Wait until this is so, looked at after each POST."""
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: what(self))

    def kept_order(self) -> bool:
        """Whether no event was as much as tried before every earlier one of its call had been taken."""
        events: dict[int, set[int]] = {}
        for post in self.posts:
            events.setdefault(post.said["call"], set()).add(post.event_id)
        taken: set[int] = set()
        for was_taken, post in self._log:
            if was_taken:
                taken.add(post.event_id)
            elif any(event < post.event_id and event not in taken for event in events[post.said["call"]]):
                return False
        return True

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        post = Post(
            method=request.method,
            path=request.raw_path,
            event_id=int(request.headers["Zvonar-Event-Id"]),
            attempt=int(request.headers["Zvonar-Attempt"]),
            headers=dict(request.headers),
            body=await request.read(),
            at=datetime.now(UTC),
        )
        self.posts.append(post)
        self._log.append((False, post))
        await self._notify()
        answer = await self.behave(post)
        if 200 <= answer.status < 300:
            self.taken.append(post)
            self._log.append((True, post))
            await self._notify()
        return answer

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
