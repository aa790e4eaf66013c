"""How is a server asked fast? Bare sockets, one request after the other on each, and the time that each took."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from bench.results import NotMeasured

START = 90.0  # seconds for a server to answer
ANSWER = 30.0  # seconds for one answer


class Answer(Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes
    milliseconds: float


class Wire:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request, and read its whole answer."""
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        took = (time.perf_counter() - began) * 1000
        return Answer(status=int(head[9:12]), body=body, milliseconds=took)


def get(path: str, *, key: str | None = None) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{_bearer(key)}\r\n".encode()


def json(path: str, body: bytes, *, key: str) -> bytes:
    """The bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\n{_bearer(key)}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _bearer(key: str | None) -> str:
    return "" if key is None else f"Authorization: Bearer {key}\r\n"


def form(path: str, body: str) -> bytes:
    """The bytes of a POST of a urlencoded form."""
    kind = "application/x-www-form-urlencoded"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


async def connect(port: int) -> Wire:
    """A connection to a server on this machine."""
    return Wire(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))


async def flood(port: int, request: Callable[[], bytes], *, connections: int, seconds: float) -> list[Answer]:
    """Whatever was answered in that time, with so many requests on their way at once."""
    until = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def ask() -> None:
        wire = await connect(port)
        while time.perf_counter() < until:
            answers.append(await wire.ask(request()))

    async with asyncio.timeout(seconds + ANSWER), asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask())
    return answers


@contextlib.contextmanager
def server(*words: str) -> Iterator[int]:
    """`python -m bench.callo_serve WORDS PORT` on a free port, until the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-m", "bench.callo_serve", *words, str(port)])
    try:
        until = time.monotonic() + START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise NotMeasured("A server of the benchmark did not start.")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10.0)
