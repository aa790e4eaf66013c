"""How does the code reach PostgreSQL? One pool, rows as structs, errors without anybody's data."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, LiteralString, TypeVar

import msgspec
import psycopg
import structlog
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory, class_row, tuple_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool

from zvonar.core.errors import ZvonarError

log = structlog.get_logger(__name__)

set_json_loads(msgspec.json.decode)  # an eighth of a worker's time went into the standard library's

Row = TypeVar("Row")
Result = TypeVar("Result")
Params = Mapping[str, Any] | Sequence[Any]

_STIR = 30.0  # seconds after which a connection that waits looks around, for no reason of ours
_RING = 0.15  # seconds in which events gather for one ring
_KEPT = 60.0  # seconds for which the first connection is kept
_ACQUIRE = 10.0  # seconds to wait for a free connection
_DEADLINES: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# No statement of ours takes longer than the timeout; imports and reports set their own. Plans are kept, and one that
# was made while a table was small would go on reading all of it: where there is an index, it is used.
_SESSION: LiteralString = "-c statement_timeout=30s -c timezone=UTC -c enable_seqscan=off"
# For those whose statements are always the same and find everything by an index: PostgreSQL would plan some of them
# anew each time, because it takes a plan for one known value to be cheaper.
STEADY: LiteralString = _SESSION + " -c plan_cache_mode=force_generic_plan"


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """One connection, with a cursor of its own: to make one costs half of what it costs to run a statement by it."""

    _own: psycopg.AsyncCursor[Any] | None = None

    async def wait(self, gen: PQGen[Result], interval: float = _STIR, timeout: float | None = None) -> Result:
        """As the driver does it, which would stir ten times a second on any connection that waits.

        It does so for the sake of Ctrl-C in programs without an event loop.
        """
        return await super().wait(gen, interval=max(interval, _STIR), timeout=timeout)

    def own(self, factory: AsyncRowFactory[Any]) -> psycopg.AsyncCursor[Any]:
        """The cursor that is kept, for one statement that is read to its end before the next."""
        if self._own is None:
            self._own = self.cursor()
        self._own.row_factory = factory
        return self._own


_Pool = AsyncConnectionPool[Connection]


class StoreUnavailable(ZvonarError):
    """The database does not answer; the service goes on as soon as it does."""


class StoreFault(ZvonarError):
    """The database refused a statement; this is a fault of the service, please report it with what stands here:"""


class Database:
    """A pool of connections to one database. Statements autocommit unless inside `transaction`.

    One connection is used whenever it is free, the others when it is not: each has caches of its own to keep warm.
    """

    def __init__(self, dsn: str, *, size: int = 8, session: LiteralString = _SESSION) -> None:
        self._dsn = dsn
        self._session = session  # how PostgreSQL serves these connections
        self._looking: asyncio.Task[None] | None = None
        self._rung = float("-inf")  # loop time of the last statement that rang for events
        self._planned: asyncio.TimerHandle | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._busy = False  # whether the first connection is in use
        # The first connection while it is well: fetching it and bringing it back takes a tenth of a statement's time.
        self._kept: Connection | None = None
        self._kept_until = 0.0  # loop time: the pool makes a new one of it now and then
        self._closing = False
        self._first = _pool(dsn, 1, 1, session=session, checked=size <= 2)
        self._others = _pool(dsn, 0, size - 1, session=session, checked=size <= 2) if size > 1 else None

    async def __aenter__(self) -> "Database":
        for pool in self._pools:
            await pool.open()
        return self

    @property
    def _pools(self) -> list[_Pool]:
        return [self._first] if self._others is None else [self._first, self._others]

    async def __aexit__(self, *_: object) -> None:
        self._unplan_ring()
        helpers = {helper for helper in (self._looking, self._ringing) if helper is not None}
        for helper in helpers:
            helper.cancel()
        if helpers:
            await asyncio.wait(helpers)
        self._closing = True  # whoever uses the first connection brings it back
        if not self._busy:
            await self._bring_back()
        for pool in self._pools:
            await pool.close(timeout=5.0)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection; StoreUnavailable when PostgreSQL is not there or goes away meanwhile."""
        return _Lent(self)

    async def _lend(self) -> Connection | None:
        """The first connection, or None while somebody has it."""
        if self._others is None or self._busy:
            return None
        self._busy = True
        try:
            if self._kept is None:
                self._kept = await self._fetch()
                self._kept_until = asyncio.get_running_loop().time() + _KEPT
        except BaseException:
            self._busy = False
            raise
        return self._kept

    async def _fetch(self) -> Connection:
        """The first connection, whose plans are made anew: some were made for tables that were empty then."""
        fetched = await self._first.getconn()
        try:
            await fetched.execute("DISCARD PLANS")
        except BaseException:
            await self._first.putconn(fetched)
            raise
        return fetched

    async def _take_back(self, *, well: bool) -> None:
        """The first connection is in use no longer."""
        try:
            if not well or self._closing or asyncio.get_running_loop().time() > self._kept_until:
                await self._bring_back()
        finally:
            self._busy = False

    def _any(self) -> AbstractAsyncContextManager[Connection]:
        """Any connection but a first one that has others beside it."""
        return (self._others or self._first).connection()

    def _told(self, exc: psycopg.Error) -> ZvonarError | psycopg.Error:
        """What whoever asked is told of an error."""
        if isinstance(exc, psycopg.errors.UniqueViolation):
            return exc  # whoever inserts a name knows what it means that it is taken
        # The text of a PostgreSQL error may quote rows; its class, SQLSTATE and constraint may not.
        said = " ".join(filter(None, (type(exc).__name__, exc.sqlstate, exc.diag.constraint_name)))
        away = isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError)
        if away:
            self._look_over()
        return (StoreUnavailable if away else StoreFault)(f"({said})")

    async def _bring_back(self) -> None:
        """Let the pool have the first connection: it looks at it, and makes another one where that is needed."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await self._first.putconn(kept)

    def _look_over(self) -> None:
        """Where one connection has died the idle ones are dead too: find out before each fails somebody."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._check(), name="pool-check")

    async def _check(self) -> None:
        with contextlib.suppress(
            psycopg.OperationalError
        ):  # the pool is closing, or there is no server at all
            if not self._busy:
                await self._bring_back()
            for pool in self._pools:
                await pool.check()

    def quiet(self) -> Literal["on", "off"]:
        """Whether the statement that comes now leaves the ring for its events to others: only some ring, for all.

        A commit that notifies waits for the one before it. Whoever was quiet calls `ring_later` once it is committed.
        """
        now = asyncio.get_running_loop().time()
        if now < self._rung + _RING:
            return "on"
        self._rung = now
        self._unplan_ring()
        return "off"

    def ring_later(self, quiet: Literal["on", "off"]) -> None:
        """After a quiet commit: if no other statement rings in a moment, it is done on its own."""
        if quiet == "on" and self._planned is None:
            self._planned = asyncio.get_running_loop().call_later(_RING, self._ring)

    def _unplan_ring(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None

    def _ring(self) -> None:
        self._planned = None
        self._ringing = asyncio.create_task(self._notify(), name="pool-ring")

    async def _notify(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # the fan-out looks by itself every second
            await self.execute("NOTIFY zvonar_outbox")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside one transaction: committed at the end, rolled back on any exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, kind: type[Row], statement: LiteralString, params: Params = ()) -> list[Row]:
        """Every row of a statement as `kind`, by column name."""
        async with self.connection() as connection:
            return await rows(connection, kind, statement, params)

    async def row(self, kind: type[Row], statement: LiteralString, params: Params = ()) -> Row | None:
        """The first row of a statement as `kind`, or None."""
        async with self.connection() as connection:
            return await row(connection, kind, statement, params)

    async def value(self, statement: LiteralString, params: Params = ()) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            found = await (await connection.own(tuple_row).execute(statement, params)).fetchone()
            return found[0] if found else None

    async def execute(self, statement: LiteralString, params: Params = ()) -> int:
        """Run a statement; how many rows it touched."""
        async with self.connection() as connection:
            return (await connection.own(tuple_row).execute(statement, params)).rowcount

    async def connect(self) -> Connection:
        """A connection beside the pool, for whoever has to hold one. Raises psycopg.OperationalError."""
        return await Connection.connect(
            self._dsn, autocommit=True, options=self._session, application_name="zvonar", **_DEADLINES
        )

    async def notifications(self, *channels: LiteralString) -> AsyncIterator[str]:
        """The names of channels as they are notified, one at a time, and once at every (re)connection.

        A reader that was away has missed what came meanwhile, so a connection counts as a notification.
        """
        while True:
            try:
                listening = await Connection.connect(self._dsn, autocommit=True, **_DEADLINES)
                async with listening as connection:
                    for channel in channels:
                        await connection.execute(f"LISTEN {channel}")
                    for channel in channels:
                        yield channel
                    async for note in connection.notifies():
                        yield note.channel
            except psycopg.OperationalError:
                log.warning("store.listen_lost")
                await asyncio.sleep(0.5)

    async def patiently(self, work: Callable[[], Awaitable[Result]], *, what: str) -> Result:
        """Do idempotent work, again and again while the database is away. Nothing accepted is given up."""
        pause = 0.1
        while True:
            try:
                return await work()
            except StoreUnavailable:
                log.warning("store.waiting", what=what, pause=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)


class _Lent(AbstractAsyncContextManager[Connection]):
    """A connection for a block. By hand, because every statement passes here: generators would cost as much again."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._first: Connection | None = None
        self._other: AbstractAsyncContextManager[Connection] | None = None

    async def __aenter__(self) -> Connection:
        try:
            self._first = await self._db._lend()
            if self._first is not None:
                return self._first
            self._other = self._db._any()
            return await self._other.__aenter__()
        except psycopg.Error as exc:
            raise self._db._told(exc) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._first is not None:
                idle = self._first.info.transaction_status is TransactionStatus.IDLE
                await self._db._take_back(well=kind is None and idle)
            elif self._other is not None:
                await self._other.__aexit__(kind, exc, trace)
        except psycopg.Error as failed:
            raise self._db._told(failed) from None
        if isinstance(exc, psycopg.Error):
            told = self._db._told(exc)
            if told is not exc:
                raise told from None


def _pool(dsn: str, least: int, most: int, *, session: LiteralString, checked: bool) -> _Pool:
    return AsyncConnectionPool(
        dsn,
        connection_class=Connection,
        min_size=least,
        max_size=most,
        open=False,
        timeout=_ACQUIRE,
        reconnect_timeout=2.0,
        max_idle=300.0,
        check=AsyncConnectionPool.check_connection if checked else None,
        kwargs={
            **_DEADLINES,
            "autocommit": True,
            "prepare_threshold": 1,  # our statements are few and long: planning one costs what running it does
            "options": session,
            "application_name": "zvonar",
        },
    )


async def rows(
    connection: Connection, kind: type[Row], statement: LiteralString, params: Params = ()
) -> list[Row]:
    """Every row of a statement on this connection as `kind`."""
    found: list[Row] = await (await connection.own(class_row(kind)).execute(statement, params)).fetchall()
    return found


async def row(
    connection: Connection, kind: type[Row], statement: LiteralString, params: Params = ()
) -> Row | None:
    """The first row of a statement on this connection as `kind`, or None."""
    found: Row | None = await (await connection.own(class_row(kind)).execute(statement, params)).fetchone()
    return found
