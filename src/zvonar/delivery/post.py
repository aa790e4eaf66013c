"""What does the other side say? One request, its deadline and its verdict.

The status is the verdict, and has to come within the deadline together with the headers. The answer's body has no
say: its first KiB is kept for the log, and if it is long, slow or broken, only its connection is given up.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from zvonar.delivery.guard import AddressRefused, IPNetwork, SocketGuard, checked
from zvonar.delivery.signing import Signers
from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.db import StoreUnavailable
from zvonar.store.deliveries import Delivery

_HEAD = 1024  # bytes of an answer that are kept
_TAIL = 16_384  # bytes of it that are read so that its connection can be used again
_TAIL_TIME = 1.0  # seconds for them
_KEEP_ALIVE = (
    4.0  # seconds; below what servers commonly keep, so that we close first and no POST meets a close
)
_LOOKUPS = 128  # names asked for at once: a name server that is dead must not be in the way of other names


def open_session(
    guard: SocketGuard,
    *,
    timeout: float,
    keep_alive: float = _KEEP_ALIVE,
    trace: aiohttp.TraceConfig | None = None,
) -> aiohttp.ClientSession:
    """A session whose every socket is made by the guard."""
    connector = aiohttp.TCPConnector(
        socket_factory=guard,
        limit=0,  # the sender bounds what is in flight
        keepalive_timeout=keep_alive,
        resolver=_Resolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout),
        auto_decompress=False,  # nobody unpacks the answer, nor its bombs
        trust_env=False,  # a proxy of the environment would dial for us, past the guard
        headers={"User-Agent": "Zvonar", "Accept": "*/*", "Accept-Encoding": "identity"},
        trace_configs=[trace] if trace is not None else None,
    )


def failure_of(exc: Exception) -> Failure:
    """What kind of failure this exception of a session is."""
    match exc:
        case TimeoutError():
            return Failure.timeout
        case AddressRefused():
            return Failure.guarded
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Failure.tls
        case aiohttp.ClientConnectorDNSError():
            return Failure.resolve
        case aiohttp.ClientConnectorError():
            return Failure.guarded if isinstance(exc.os_error, AddressRefused) else Failure.connect
        case aiohttp.ClientError() | OSError():
            return Failure.broken
        case _:
            return Failure.unknown


class Poster:
    """Sends to any number of addresses, through the guard. One per process; use as a context."""

    def __init__(self, *, allowed: Sequence[IPNetwork] = (), timeout: float = 10.0) -> None:
        self._guard = SocketGuard(allowed)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Poster":
        self._session = open_session(self._guard, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST"
    ) -> Answer:
        """Send these bytes. Whatever goes wrong is an Answer too: one bad receiver must not end the sender."""
        assert self._session is not None
        try:
            async with self._session.request(
                method, checked(url), data=body or None, headers=headers, allow_redirects=False
            ) as response:
                return _verdict(response, await _head(response))
        except Exception as exc:  # an address that a library chokes on is that receiver's failure, not ours
            return _failed(failure_of(exc), exc)


class HttpTransport:
    """Carries deliveries to http(s) addresses, signed."""

    def __init__(self, poster: Poster, signers: Signers) -> None:
        self._poster = poster
        self._signers = signers

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        try:
            signature = await self._signers.headers(delivery, at=at)
        except StoreUnavailable as exc:
            return _failed(Failure.unknown, exc)
        headers = {
            "Zvonar-Event-Id": str(delivery.event_id),
            "Zvonar-Attempt": str(delivery.tries + 1),
            "Zvonar-Timestamp": str(int(at.timestamp())),
            **signature,
        }
        if delivery.body or delivery.method == "POST":
            headers["Content-Type"] = delivery.content_type
        return await self._poster.post(delivery.url, delivery.body, headers, method=delivery.method)


async def _head(response: aiohttp.ClientResponse) -> bytes:
    content = response.content
    if (
        content.is_eof() and content.exception() is None
    ):  # it is all here, as with most: no need to wait for it
        return content.read_nowait()[:_HEAD]
    head, read = bytearray(), 0
    try:
        async with asyncio.timeout(_TAIL_TIME):
            async for chunk in content.iter_any():
                head += chunk[: _HEAD - len(head)]
                read += len(chunk)
                if read > _TAIL:
                    response.close()
                    break
    except (TimeoutError, aiohttp.ClientError):
        response.close()
    return bytes(head)


def _verdict(response: aiohttp.ClientResponse, head: bytes) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(status=status, failure=None, head=head)
    failure = Failure.gone if status == 410 else Failure.redirect if 300 <= status < 400 else Failure.status
    return Answer(status=status, failure=failure, head=head, retry_after=response.headers.get("Retry-After"))


def _failed(failure: Failure, exc: BaseException) -> Answer:
    return Answer(status=None, failure=failure, reason=type(exc).__name__)


class _Resolver(AbstractResolver):
    """The system's resolver, on threads of its own: the event loop has four for everything, and dead names hold
    each for many seconds.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    return [(kind, str(address[0])) for kind, _, _, _, address in found]
