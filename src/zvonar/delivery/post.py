"""What does the other side say? One POST, its deadline and its verdict."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from enum import StrEnum

import aiohttp
from msgspec import Struct

from zvonar.delivery.guard import AddressRefused, IPNetwork, SocketGuard, checked

_TAIL = 16_384  # bytes of an answer that are read so that its connection can be used again
_KEEP_ALIVE = (
    4.0  # seconds; below what servers commonly keep, so that we close first and no POST meets a close
)


class Failure(StrEnum):
    """Why a delivery was not taken."""

    status = "status"  # an answer, but not 2xx
    redirect = "redirect"  # 3xx: not followed, it could lead inside
    timeout = "timeout"
    guarded = "guarded"  # an address that deliveries may not go to
    resolve = "resolve"  # the name has no address
    connect = "connect"  # nobody listens there, or the network does not reach it
    tls = "tls"
    broken = "broken"  # the connection broke, or what came was not HTTP
    unknown = "unknown"  # none of these; the log has the class of the exception


class Answer(Struct, frozen=True, kw_only=True):
    """What came of one POST."""

    status: int | None  # HTTP; None where none came
    failure: Failure | None  # None: taken
    reason: str | None = (
        None  # class of the exception behind a failure; never its text, which quotes addresses
    )


class Poster:
    """Posts to any number of addresses, through the guard. One per process; use as a context."""

    def __init__(self, *, allowed: Sequence[IPNetwork] = (), timeout: float = 10.0) -> None:
        self._guard = SocketGuard(allowed)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Poster":
        connector = aiohttp.TCPConnector(
            socket_factory=self._guard,
            limit=0,  # the sender bounds what is in flight
            keepalive_timeout=_KEEP_ALIVE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            auto_decompress=False,  # nobody reads the answer, so nobody unpacks its bombs
            trust_env=False,  # a proxy of the environment would dial for us, past the guard
            headers={"User-Agent": "Zvonar"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST these bytes. Whatever goes wrong is an Answer too: one bad receiver must not end the sender."""
        assert self._session is not None
        try:
            async with self._session.post(
                checked(address), data=body, headers=headers, allow_redirects=False
            ) as response:
                await _read_tail(response)
                return _verdict(response.status)
        except TimeoutError as exc:
            return _failed(Failure.timeout, exc)
        except AddressRefused as exc:
            return _failed(Failure.guarded, exc)
        except (aiohttp.ClientSSLError, ssl.SSLError) as exc:
            return _failed(Failure.tls, exc)
        except aiohttp.ClientConnectorDNSError as exc:
            return _failed(Failure.resolve, exc)
        except aiohttp.ClientConnectorError as exc:
            refused = isinstance(exc.os_error, AddressRefused)
            return _failed(Failure.guarded if refused else Failure.connect, exc)
        except (aiohttp.ClientError, OSError) as exc:
            return _failed(Failure.broken, exc)
        except Exception as exc:  # an address that a library chokes on is that receiver's failure, not ours
            return _failed(Failure.unknown, exc)


async def _read_tail(response: aiohttp.ClientResponse) -> None:
    # The status is the verdict. A short answer is read to its end, which keeps the connection; for a long or
    # slow one the connection is given up instead.
    read = 0
    try:
        async with asyncio.timeout(1.0):
            async for chunk in response.content.iter_any():
                read += len(chunk)
                if read > _TAIL:
                    response.close()
                    return
    except (TimeoutError, aiohttp.ClientError):
        response.close()


def _verdict(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(status=status, failure=None)
    return Answer(status=status, failure=Failure.redirect if 300 <= status < 400 else Failure.status)


def _failed(failure: Failure, exc: BaseException) -> Answer:
    return Answer(status=None, failure=failure, reason=type(exc).__name__)
