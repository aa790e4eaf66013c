"""What is one request of this API, from its path to its answer? Said once; routes and the OpenAPI document follow.

Whatever changes something is one transaction, whole or not at all, together with the answer that is kept for an
Idempotency-Key.
"""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.types import ASGIApp, ControllerRouterHandler
from msgspec import Struct

from zvonar.core.errors import NoMoney, NotFound, Unauthorised
from zvonar.core.schedule import zone_of
from zvonar.dialects import links
from zvonar.dialects.autocall import errors, limits
from zvonar.dialects.autocall.errors import Problem
from zvonar.dialects.autocall.requests.fields import BIGGEST, NothingAsked, decoded, read
from zvonar.store import accounts, idempotency
from zvonar.store import limits as rates
from zvonar.store.accounts import Account
from zvonar.store.bound import Bound, at_once
from zvonar.store.db import Database
from zvonar.store.idempotency import Busy, Kept

if TYPE_CHECKING:  # the voices' libraries are for the process that serves, and others import this module, too
    from zvonar.speech.library import Library

KEY_KIND: Final = "autocall_api_key"  # of the keys table
KEY_HEADER: Final = "idempotency-key"
REPLAYED: Final = "Idempotent-Replayed"

RECEIVED_WITHIN: Final = 300.0  # seconds for a body
WORKED_WITHIN: Final = 900.0  # seconds for a long body, a turn among others included
LONG_ONES: Final = 3  # requests with long bodies that are worked on at once
WAIT: Final = 60.0  # seconds for the same request that another connection has sent
_HELD: Final = 1 << 20  # bytes of a body that stay in memory
_PAUSES: Final = (0.02, 0.05, 0.1, 0.25)  # seconds between looks at a request that is being worked on
_NUMBER: Final = re.compile(r"[1-9]\d{0,18}", re.ASCII)
_BEARER: Final = re.compile(r"bearer +(\S{1,200}) *", re.ASCII | re.IGNORECASE)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
JSON: Final = "application/json"

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    now: Callable[[], datetime]  # aware
    library: "Library"
    public_url: str | None = None  # prefixes every link; the request's own host unless given


class Asked(Struct, frozen=True, kw_only=True):
    """A request whose key is known and whose fields are what they should be."""

    service: Service
    request: Req
    db: Database  # where something is changed: inside the request's own transaction
    account: Account | None  # None where the operation is public
    now: datetime
    query: Any  # the operation's own struct
    body: Any  # the operation's own struct; None where it reads the body by itself
    file: BinaryIO  # the body as it came, at its beginning
    size: int  # bytes of it

    @property
    def tenant(self) -> Account:
        """The account of an operation that is not public."""
        assert self.account is not None
        return self.account

    @property
    def account_id(self) -> int:
        return self.tenant.account_id

    @property
    def zone(self) -> ZoneInfo:
        """In which this account's dates are meant."""
        return zone_of(self.tenant.timezone)

    def id(self, name: str) -> int:
        """A number of the path; what is none leads nowhere."""
        text = self.request.path_params[name]
        if not _NUMBER.fullmatch(text) or int(text) > BIGGEST:
            raise errors.missing()
        return int(text)

    def text(self, name: str) -> str:
        """A text of the path."""
        return str(self.request.path_params[name])

    @property
    def base(self) -> str:
        """With what every link begins."""
        return links.base_url(self.request, self.service.public_url)


class Direct(Response[None]):
    """An answer that sends itself."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(content=None)
        self._app = app

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Itself."""
        return self._app


Answered = Struct | bytes | Response[Any] | None
Handle = Callable[[Asked], Awaitable[Answered]]


class Example(Struct, frozen=True, kw_only=True):
    """A request that a test sends and a reader may try. `{name}` in it is an id that the test has made."""

    name: str
    path: Mapping[str, str] = {}
    query: Mapping[str, Any] = {}
    body: Any = None


class Operation(Struct, frozen=True, kw_only=True):
    """A request of this API."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str  # below the prefix; parameters in braces
    tag: str
    name: str  # operationId
    summary: str
    handle: Handle
    about: str = ""
    status: int = 200  # of success
    query: type[Struct] = NothingAsked
    body: type[Struct] | None = None
    forms: Mapping[str, Any] = {}  # content type → schema, where the handler reads the body itself
    answer: Any = None  # what a success is
    content_type: str = JSON  # of a success
    refusals: tuple[int, ...] = ()  # beside 401, 422, 429, 503
    public: bool = False
    longest: int = limits.MAX_BODY
    examples: tuple[Example, ...] = ()

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    @property
    def statuses(self) -> set[int]:
        """Every status that it may answer with."""
        found = {self.status, 429, 503, *self.refusals}
        if not self.public:
            found.add(401)
        if self.query is not NothingAsked or self.body is not None or self.forms:
            found.add(422)
        if "{" in self.path:
            found.add(404)
        if self.changes:
            found.add(413)
        if self.method == "POST" and not self.public:
            found |= {409, 422}
        return found


def handler(
    operation: Operation, service: Service, *, long_ones: asyncio.Semaphore
) -> ControllerRouterHandler:
    """The operation as a route. `long_ones`: whose turn it is that have long bodies; each keeps a connection busy."""

    @route(
        _litestar(operation.path),
        http_method=[HttpMethod(operation.method)],
        status_code=200,  # the answer brings its own
        include_in_schema=False,  # we write our own
        request_max_body_size=None,  # what is too large is refused in our own shape
    )
    async def handle(request: Req) -> Response[Any]:
        now = service.now()
        account = await _caller(operation, service, request, now)
        with tempfile.SpooledTemporaryFile(max_size=_HELD) as file:
            async with asyncio.timeout(RECEIVED_WITHIN):
                size, digest = await _received(request, file, operation)  # type: ignore[arg-type]
            asked = Asked(
                service=service,
                request=request,
                db=service.db,
                account=account,
                now=now,
                query=_query(operation, request),
                body=None,
                file=file,  # type: ignore[arg-type]
                size=size,
            )
            if operation.body is not None:
                asked = msgspec.structs.replace(asked, body=read(operation.body, decoded(file.read())))
            if not operation.changes:
                return _answer(operation, await _handled(operation, asked))
            if size <= _HELD:
                return await _changed(operation, asked, digest)
            async with asyncio.timeout(WORKED_WITHIN), long_ones:
                return await _changed(operation, asked, digest)

    return handle


def allowing(path: str, operations: Sequence[Operation]) -> ControllerRouterHandler:
    """What may be asked of a path, and what is said to anything else."""
    methods = [HttpMethod(operation.method) for operation in operations if operation.path == path]
    allowed = {"Allow": ", ".join(sorted([*(method.value for method in methods), HttpMethod.OPTIONS.value]))}
    others = [method for method in HttpMethod if method not in methods]

    @route(_litestar(path), http_method=others, status_code=200, include_in_schema=False)
    async def allow(request: Req) -> Response[Any]:
        if request.method == HttpMethod.OPTIONS:
            return Response(None, status_code=204, headers=allowed)
        raise Problem(405, errors.NOT_ALLOWED, headers=allowed)

    return allow


def _litestar(path: str) -> str:
    return re.sub(r"\{(\w+)\}", r"{\1:str}", path)


async def _caller(operation: Operation, service: Service, request: Req, now: datetime) -> Account | None:
    """Whose key this is. Raises Problem: 401, or 429 where it asks too often."""
    if operation.public:
        address = request.client.host if request.client else ""
        if not await rates.take(service.db, limits.PUBLIC, rates.key_hash(address), now=now):
            raise _too_many()
        return None
    bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if bearer is None:
        raise _unauthenticated()
    key = accounts.hash_key(bearer[1])
    try:
        account = await rates.use_key(service.db, limits.PER_KEY, key, kind=KEY_KIND, now=now)
    except Unauthorised:
        raise _unauthenticated() from None
    if account is None:
        raise _too_many()
    return account


def _unauthenticated() -> Problem:
    return Problem(401, errors.UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})


def _too_many() -> Problem:
    headers = {
        "Retry-After": limits.RETRY_AFTER,
        "X-RateLimit-Limit": str(limits.PER_KEY.count),
        "X-RateLimit-Remaining": "0",
    }
    return Problem(429, errors.TOO_MANY, headers=headers)


async def _received(request: Req, file: BinaryIO, operation: Operation) -> tuple[int, bytes]:
    """How many bytes a body has, and its hash. Memory does not grow with it; one that is too large is read and dropped:
    who is refused in the middle of sending sees a broken connection instead of the reason."""
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= operation.longest:
            digest.update(chunk)
            file.write(chunk)  # a page cache's speed: a thread for every chunk would cost more
    if size > operation.longest:
        raise Problem(413, errors.TOO_LARGE)
    file.seek(0)
    return size, digest.digest()


def _query(operation: Operation, request: Req) -> Struct:
    known = {field.encode_name for field in msgspec.structs.fields(operation.query)}
    given = {name: value for name, value in request.query_params.items() if name in known}
    return read(operation.query, given, strict=False)


async def _handled(operation: Operation, asked: Asked) -> Answered:
    try:
        return await operation.handle(asked)
    except NotFound:
        raise errors.missing() from None
    except NoMoney:
        raise Problem(402, errors.NO_MONEY) from None


async def _changed(operation: Operation, asked: Asked, digest: bytes) -> Response[bytes]:
    """Do it, all of it or nothing; at most once under an Idempotency-Key."""
    given = asked.request.headers.get(KEY_HEADER)
    if given is None or operation.method != "POST" or operation.public:
        async with at_once(asked.service.db) as db:
            answered = await _handled(operation, msgspec.structs.replace(asked, db=db))
        return _answer(operation, answered)
    if not _KEY.fullmatch(given):
        raise errors.wrong(
            "Idempotency-Key",
            "An Idempotency-Key is 1 to 255 printable characters without blanks.",
            "Idempotency-Key: от 1 до 255 печатных символов без пробелов.",
        )
    async with asyncio.timeout(WAIT + WORKED_WITHIN):
        return await _once(operation, asked, rates.key_hash(given), digest)


async def _once(operation: Operation, asked: Asked, key: bytes, digest: bytes) -> Response[bytes]:
    """The first of all the same requests does it; the others are told what it was told."""
    waited = 0.0
    for look in range(1_000_000):
        async with asked.service.db.transaction() as connection:
            known = await idempotency.known(connection, asked.account_id, key, now=asked.now)
            if known is None:
                bound = msgspec.structs.replace(asked, db=Bound(connection))
                answer = _answer(operation, await _handled(operation, bound))
                kept = Kept(
                    fingerprint=digest,
                    status=answer.status_code or operation.status,
                    content_type=operation.content_type,
                    body=answer.content,
                )
                await idempotency.keep(connection, asked.account_id, key, kept, now=asked.now)
                return answer
        if isinstance(known, Kept):
            if known.fingerprint != digest:
                raise Problem(409, errors.KEY_REUSED)
            return Response(
                known.body,
                status_code=known.status,
                media_type=known.content_type,
                headers={REPLAYED: "true"},
            )
        assert known is Busy.busy
        # With no connection in hand: those who wait must not keep the one who works from getting on.
        pause = _PAUSES[min(look, len(_PAUSES) - 1)]
        waited += pause
        if waited > WAIT:
            break
        await asyncio.sleep(pause)
    raise Problem(409, errors.KEY_BUSY, headers={"Retry-After": "5"})


def _answer(operation: Operation, answered: Answered) -> Response[Any]:
    match answered:
        case None:
            return Response(b"", status_code=operation.status)
        case bytes():
            return Response(answered, status_code=operation.status, media_type=operation.content_type)
        case Struct():
            return Response(msgspec.json.encode(answered), status_code=operation.status, media_type=JSON)
        case _:
            return answered
