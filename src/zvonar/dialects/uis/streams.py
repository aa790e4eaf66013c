"""How is a report sent that may be large? Whole where it is small; else as it comes, so that memory stays flat."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog
from litestar.types import Receive, Scope, Send

log = structlog.get_logger(__name__)

WHOLE: Final = 1 << 20  # bytes up to which an answer is sent in one piece
PATIENCE: Final = 60.0  # seconds that a client may take for a piece
LONGEST: Final = 300.0  # seconds for all of it: meanwhile a transaction is open


async def pieces(
    head: bytes, chunks: AsyncIterator[list[bytes]], tail: bytes, render: Callable[[bytes], bytes] | None
) -> AsyncIterator[bytes]:
    """The text of an answer."""
    yield head
    first = True
    async for rows in chunks:
        if rows:
            text = b",".join(rows if render is None else map(render, rows))
            yield text if first else b"," + text
            first = False
    yield tail


async def begun(text: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The first pieces up to WHOLE, and whether that was all of it."""
    parts: list[bytes] = []
    size = 0
    async for piece in text:
        parts.append(piece)
        size += len(piece)
        if size > WHOLE:
            return b"".join(parts), False
    return b"".join(parts), True


class Whole:
    """An ASGI answer that is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self._body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class Streamed:
    """An ASGI answer that goes on with what has begun. Closes `held` at its end, whatever happens."""

    def __init__(self, start: bytes, rest: AsyncIterator[bytes], held: AsyncExitStack) -> None:
        self._start = start
        self._rest = rest
        self._held = held

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        async with self._held:
            try:
                async with asyncio.timeout(LONGEST):
                    await self._send(send)
            except Exception as exc:
                # The answer has begun as a success; a body that breaks off is the only way to say that it is none.
                log.error("uis.broken_off", error=type(exc).__name__)
                raise

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._piece(send, self._start)
        async for piece in self._rest:
            await self._piece(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _piece(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await send({"type": "http.response.body", "body": body, "more_body": True})
