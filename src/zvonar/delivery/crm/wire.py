"""What does a CRM answer to one request? Sent in a slot, through the guard, and whether it can have arrived.

The CRM counts requests as they arrive; so a slot is given back as soon as its request has left, with the time of that.
"""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from msgspec import Struct
from yarl import URL

from zvonar.core.errors import Invalid
from zvonar.delivery.guard import IPNetwork, SocketGuard, checked
from zvonar.delivery.post import failure_of, open_session
from zvonar.delivery.verdict import Failure
from zvonar.store import push_paces
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.push_paces import Slot

log = structlog.get_logger(__name__)

_MOST: Final = 8 << 20  # bytes of an answer; 250 notes have some hundred thousand
_HEAD: Final = 1024  # bytes of it for the log
# Longer than the pauses between requests, so that most find a connection; what a close costs is one try.
_KEEP_ALIVE: Final = 15.0
# Seconds: a slot counts for 15, of which a request may need ten to leave. And what was written down before must be
# true when it leaves.
_LATE: Final = 4.0
_SCHEMES: Final = {"https": 443, "http": 80}


class BaseUrlInvalid(Invalid):
    """A CRM's address is its domain, such as example.amocrm.ru, reached over https."""


def origin(domain: str) -> str:
    """`https://example.amocrm.ru` of a domain or URL. Raises BaseUrlInvalid.

    Over plain http only to a numeric address or this machine, which the guard closes unless the operator opens them.
    """
    try:
        url = checked(domain if "://" in domain else f"https://{domain}")
        port = url.port
    except (Invalid, ValueError, OSError):
        raise BaseUrlInvalid() from None
    if url.path not in ("", "/") or url.query_string or url.fragment or url.host is None:
        raise BaseUrlInvalid()
    inside = url.host == "localhost" or url.host.replace(".", "").isdigit() or ":" in url.host
    if url.scheme == "http" and not inside:
        raise BaseUrlInvalid()
    if not inside and "." not in url.host:
        raise BaseUrlInvalid()
    shown = str(url.origin())
    return shown if port != _SCHEMES[url.scheme] else shown.removesuffix(f":{port}")


class Reply(Struct, frozen=True, kw_only=True):
    """What came of one request."""

    status: int | None  # None: no answer
    failure: Failure | None = None  # why there is none
    sent: bool  # whether it may have arrived
    data: Any = None  # the answer's JSON; None where it has none
    head: bytes = b""  # the first KiB of it, as it came
    retry_after: str | None = None
    reason: str | None = None  # class of the exception behind a failure

    def under(self, *path: str) -> Any:
        """What stands there in the JSON, or None."""
        found = self.data
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


class _Leaving:
    """When a request left."""

    def __init__(self, *, has_body: bool) -> None:
        self.has_body = has_body
        self.at: float | None = None  # loop time
        self.reporting: asyncio.Task[None] | None = None


class CrmHttp:
    """Asks CRMs. One per process; use as a context."""

    def __init__(self, db: Database, *, allowed: Sequence[IPNetwork] = (), timeout: float = 10.0) -> None:
        self._db = db
        self._guard = SocketGuard(allowed)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "CrmHttp":
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(self._headers_left)
        trace.on_request_chunk_sent.append(self._body_left)
        self._session = open_session(self._guard, timeout=self._timeout, keep_alive=_KEEP_ALIVE, trace=trace)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        slot: Slot,
        method: str,
        url: str | URL,
        *,
        token: str | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """One request, in its slot. Whatever goes wrong is a Reply too."""
        assert self._session is not None
        loop = asyncio.get_running_loop()
        leaving = _Leaving(has_body=body is not None)
        context = SimpleNamespace(slot=slot, leaving=leaving)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            await asyncio.sleep(max(0.0, slot.leaves - loop.time()))
            if loop.time() - slot.leaves > _LATE:
                raise TimeoutError
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=context
            ) as response:
                read = await _read(response)
            return Reply(
                status=response.status,
                sent=True,
                data=_json(read),
                head=read[:_HEAD],
                retry_after=response.headers.get("Retry-After"),
            )
        except Exception as exc:  # whatever a library chokes on is that CRM's failure, not ours
            return Reply(
                status=None, failure=failure_of(exc), sent=leaving.at is not None, reason=type(exc).__name__
            )
        finally:
            if leaving.reporting is None:
                await self._report(slot, leaving.at)
            else:
                await leaving.reporting

    async def give_back(self, slot: Slot) -> None:
        """Nothing was sent in this slot."""
        await self._report(slot, None)

    async def _headers_left(self, _: object, context: Any, __: object) -> None:
        if not context.trace_request_ctx.leaving.has_body:
            self._left(context.trace_request_ctx)

    async def _body_left(self, _: object, context: Any, __: object) -> None:
        self._left(context.trace_request_ctx)

    def _left(self, sending: Any) -> None:
        leaving: _Leaving = sending.leaving
        leaving.at = asyncio.get_running_loop().time()
        if leaving.reporting is None:
            # At once: the next request of another process waits for it.
            leaving.reporting = asyncio.create_task(self._report(sending.slot, leaving.at))

    async def _report(self, slot: Slot, left: float | None) -> None:
        try:
            await push_paces.sent(self._db, slot, left=left)
        except StoreUnavailable as exc:
            log.warning("crm.slot_not_reported", reason=str(exc))  # it counts until its time is over


async def _read(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) > _MOST:
            response.close()
            raise aiohttp.ClientPayloadError("too long")
    return bytes(read)


def _json(read: bytes) -> Any:
    try:
        return msgspec.json.decode(read) if read else None
    except (msgspec.MsgspecError, RecursionError):
        return None
