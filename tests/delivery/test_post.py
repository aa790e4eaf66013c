"""What is made of answers that a sane server would not give?"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from zvonar.delivery.guard import networks
from zvonar.delivery.post import Poster
from zvonar.delivery.verdict import Failure

pytestmark = pytest.mark.asyncio

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\n"


async def fast_for_ever(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def a_gigabyte(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1073741824\r\n\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def a_gzip_bomb(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + b"\x1f\x8b not gzip")


async def a_byte_now_and_then(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.3)


async def too_short(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\nshort")


async def unfinished_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"X-Endless: ")
    await asyncio.Event().wait()


async def huge_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"X-Huge: " + b"x" * 1_000_000 + b"\r\n\r\n")


async def not_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example ESMTP\r\n")


async def nothing(writer: asyncio.StreamWriter) -> None:
    pass


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    """A server that hears a request out, gives this answer and closes."""
    answering: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass  # the client has left, or the test is over
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    listening.close()
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering)


@pytest.mark.parametrize(
    ("answer", "status", "failure"),
    [
        (fast_for_ever, 200, None),
        (a_gigabyte, 200, None),
        (a_gzip_bomb, 200, None),
        (a_byte_now_and_then, 200, None),
        (too_short, 200, None),
        (unfinished_headers, None, Failure.timeout),
        (huge_headers, None, Failure.broken),
        (not_http, None, Failure.broken),
        (nothing, None, Failure.broken),
        (silence, None, Failure.timeout),
    ],
)
async def test_the_status_decides_and_comes_in_time(
    answer: Answer, status: int | None, failure: Failure | None
) -> None:
    timeout = 1.0 if failure is Failure.timeout else 4.0
    async with (
        server(answer) as address,
        Poster(allowed=networks(["127.0.0.0/8"]), timeout=timeout) as poster,
    ):
        given = await poster.post(address, b"{}", {})
    assert (given.status, given.failure) == (status, failure)
    assert len(given.head) <= 1024


async def test_a_compressed_answer_is_kept_as_it_came() -> None:
    async with server(a_gzip_bomb) as address, Poster(allowed=networks(["127.0.0.0/8"])) as poster:
        assert (await poster.post(address, b"{}", {})).head == b"\x1f\x8b not gzip"


async def test_a_good_status_in_time_is_a_success_though_its_body_outlasts_the_deadline() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await a_byte_now_and_then(writer)

    async with server(slowly) as address, Poster(allowed=networks(["127.0.0.0/8"]), timeout=4.0) as poster:
        given = await poster.post(address, b"{}", {})
    assert (given.status, given.failure) == (200, None)


async def test_https_does_not_fall_back_to_plain_text() -> None:
    heard = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += await reader.read(1024)
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    address = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    async with Poster(allowed=networks(["127.0.0.0/8"]), timeout=30.0) as poster:
        given = await poster.post(address, b"a secret", {})
    listening.close()
    assert (given.status, given.failure) == (None, Failure.tls)
    assert heard
    assert b"a secret" not in heard


async def test_cookies_and_credentials_are_not_kept() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + b"Set-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1")
    address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    async with Poster(allowed=networks(["127.0.0.0/8"]), timeout=30.0) as poster:
        for _ in range(2):
            assert (await poster.post(address, b"{}", {})).status == 200
    listening.close()
    assert len(heard) == 2
    assert b"cookie" not in heard[1].lower()
