"""Which CRM gets its calls next? Each that has something due, side by side, at the pace that it allows."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from msgspec import Struct

from zvonar.core.errors import NotFound
from zvonar.delivery.backoff import Backoff
from zvonar.delivery.bell import Bell, pause
from zvonar.delivery.crm import settings as crm_settings
from zvonar.delivery.crm import trouble as troubles
from zvonar.delivery.crm.asking import PER_SECOND, Asking, Tokens
from zvonar.delivery.crm.batch import MOST, Push
from zvonar.delivery.crm.items import Links
from zvonar.delivery.crm.render import KIND
from zvonar.delivery.crm.settings import CrmSettingsInvalid
from zvonar.delivery.crm.trouble import CrmTrouble, Trouble
from zvonar.delivery.crm.vault import CredentialsUnreadable, Vault
from zvonar.delivery.crm.wire import CrmHttp
from zvonar.delivery.guard import IPNetwork
from zvonar.delivery.meters import DeliveryMeters
from zvonar.store import push_calls, push_connections, push_paces, receivers
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.push_calls import Batch
from zvonar.store.push_connections import CrmConnection
from zvonar.store.workers import Identity

log = structlog.get_logger(__name__)


_Flown = tuple[CrmConnection, CrmTrouble | None]  # with which keys, and what was in the way


class CrmLimits(Struct, frozen=True, kw_only=True):
    """How CRMs are dealt with."""

    at_once: int = 4  # requests on their way to one CRM from this process
    timeout: float = 10.0  # seconds for one answer
    budget: float = 90.0  # seconds for all that a batch needs
    lease: float = 120.0  # seconds that its deliveries are ours
    rest: float = 30.0  # seconds after which a request that was given up has surely ended there, too
    poll: float = 1.0  # seconds between looks without a ring
    drain: float = 12.0  # seconds for what is on its way at a stop
    pauses: float = 1.0  # times the pauses after a trouble


class Crm(Struct, frozen=True, kw_only=True):
    """What pushing into CRMs needs of the house."""

    vault: Vault
    links: Links | None = None  # None: nobody outside can fetch a recording
    limits: CrmLimits = CrmLimits()


class Pusher:
    """Pushes what is due. Any number may run on one database."""

    def __init__(
        self,
        db: Database,
        crm: Crm,
        identity: Identity,
        *,
        allowed: Sequence[IPNetwork],
        backoff: Backoff,
        meters: DeliveryMeters,
        clock: Callable[[], datetime],
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.bell = Bell()  # rings when there are new deliveries
        self._db = db
        self._limits = crm.limits
        self._vault = crm.vault
        self._identity = identity
        self._allowed = allowed
        self._backoff = backoff
        self._meters = meters
        self._clock = clock
        self._roll = roll
        self._runs: dict[int, asyncio.Task[None]] = {}  # by account
        self._more: dict[int, asyncio.Event] = {}  # by account: whether more has become due while it runs
        self._http: CrmHttp  # of a run
        self._tokens: Tokens

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, which comes with a ring; then waits for what is on its way."""
        async with CrmHttp(self._db, allowed=self._allowed, timeout=self._limits.timeout) as http:
            self._http = http
            self._tokens = Tokens(self._db, http, self._vault, clock=self._clock)
            try:
                while not stop.is_set():
                    if self._identity.known.is_set():
                        await self._look(stop)
                    await self.bell.heard(self._limits.poll)
            finally:
                await self._drain()

    async def _look(self, stop: asyncio.Event) -> None:
        try:
            for crm in await push_connections.with_work(self._db, now=self._clock()):
                if crm.account_id in self._runs:
                    self._more[crm.account_id].set()
                elif not stop.is_set():
                    self._more[crm.account_id] = asyncio.Event()
                    run = asyncio.create_task(self._serve(crm, stop), name=f"crm-{crm.account_id}")
                    self._runs[crm.account_id] = run
                    run.add_done_callback(lambda done, account=crm.account_id: self._ended(account, done))  # type: ignore[misc]
        except StoreUnavailable as exc:
            log.warning("crm.look_waiting", reason=str(exc))

    def _ended(self, account_id: int, run: asyncio.Task[None]) -> None:
        del self._runs[account_id], self._more[account_id]
        if not run.cancelled() and (exc := run.exception()) is not None:
            # One CRM's surprise must not end the others' pushing; its deliveries are free again when leases end.
            log.error("crm.failed", account_id=account_id, error=type(exc).__name__)

    async def _drain(self) -> None:
        runs = set(self._runs.values())
        if runs:
            _, late = await asyncio.wait(runs, timeout=self._limits.drain)
            for run in late:
                run.cancel()
            if late:
                log.warning("crm.not_drained", accounts=len(late))
                await asyncio.wait(late, timeout=1.0)

    async def _serve(self, crm: CrmConnection, stop: asyncio.Event) -> None:
        """Push what is due at one CRM, until nothing is or something is in the way."""
        flying: set[asyncio.Task[_Flown]] = set()
        more = self._more[crm.account_id]
        try:
            settings = crm_settings.read(crm.settings)
            while not stop.is_set():
                try:
                    crm = await self._tokens.fresh(crm)
                except CrmTrouble as exc:
                    await self._object(crm, exc)
                    return
                if crm.state != "connected":
                    return
                more.clear()
                taken = await self._take(crm)
                if taken is None:
                    if not flying:
                        return
                    await _first(flying, more)
                elif isinstance(taken, float):
                    # The CRM wants to be left alone, or its next second has not come.
                    await pause(stop, min(taken, self._limits.poll))
                    if taken > self._limits.poll and not flying:
                        return
                else:
                    flying.add(asyncio.create_task(self._push(crm, taken, settings)))
                if len(flying) >= self._limits.at_once:
                    await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                done = {task for task in flying if task.done()}
                flying -= done
                for used, trouble in [task.result() for task in done]:
                    if trouble is not None:
                        crm = await self._object(used, trouble)
                        if trouble.trouble is not Trouble.unauthorised:
                            return
        except (CredentialsUnreadable, CrmSettingsInvalid) as exc:
            await self._unusable(crm, exc)
        except NotFound:
            return  # it was taken away
        except asyncio.CancelledError:
            for task in flying:
                task.cancel()
            raise
        except StoreUnavailable as exc:
            log.warning("crm.waiting", account_id=crm.account_id, reason=str(exc))
        finally:
            if flying:
                await asyncio.gather(*flying, return_exceptions=True)

    async def _take(self, crm: CrmConnection) -> Batch | float | None:
        return await push_calls.take(
            self._db,
            crm.account_id,
            push_connections.address(crm.account_id),
            origin=crm.base_url,
            per_second=PER_SECOND,
            worker_id=self._identity.worker_id,
            now=self._clock(),
            lease=self._limits.lease,
            limit=MOST,
        )

    async def _push(self, crm: CrmConnection, batch: Batch, settings: crm_settings.CrmSettings) -> _Flown:
        push = Push(
            self._db,
            Asking(self._http, self._tokens, crm, batch.slot),
            batch,
            settings,
            rest=self._limits.rest,
            budget=self._limits.budget,
            backoff=self._backoff,
            clock=self._clock,
            roll=self._roll,
        )
        trouble = await push.run()
        now = self._clock()
        for lag in push.lags(now):
            self._meters.delivered(KIND, lag)
        if push.logged and trouble is None:
            await push_connections.well(self._db, crm.account_id)
        return crm, trouble

    async def _object(self, crm: CrmConnection, exc: CrmTrouble) -> CrmConnection:
        """The CRM is in trouble: leave it alone for a while, or get another token."""
        if exc.trouble is Trouble.unauthorised:
            try:
                return await self._tokens.refused(crm, exc)
            except CrmTrouble as other:
                if other.trouble is not Trouble.unauthorised:
                    await self._object(crm, other)
            return await push_connections.get(self._db, crm.account_id)
        now = self._clock()
        count = await push_connections.troubled(
            self._db,
            crm.account_id,
            trouble=exc.trouble,
            status=exc.status,
            tell=exc.trouble in troubles.TOLD,
            now=now,
        )
        seconds = troubles.pause(exc, count, scale=self._limits.pauses, now=now)
        await push_paces.hold(self._db, crm.base_url, seconds=seconds)
        self._meters.failed(KIND, exc.trouble, dead=False)
        log.warning(
            "crm.trouble",
            account_id=crm.account_id,
            trouble=str(exc.trouble),
            status=exc.status,
            reason=exc.reason,
            pause=round(seconds, 1),
        )
        if exc.trouble is not Trouble.throttled:
            async with self._db.transaction() as connection:
                address = push_connections.address(crm.account_id)
                given_up = await receivers.failed(connection, [(crm.account_id, address, False)], now=now)
            for one in given_up:
                self._meters.disabled(one.reason)
        return crm

    async def _unusable(self, crm: CrmConnection, exc: Exception) -> None:
        """Its row cannot be worked with: a person has to connect it, or set it, again."""
        log.error("crm.unusable", account_id=crm.account_id, error=type(exc).__name__)
        await self._object(crm, CrmTrouble(Trouble.strange))


async def _first(flying: set[asyncio.Task[_Flown]], more: asyncio.Event) -> None:
    """Until one of them has come back, or there is more to do."""
    waiting = asyncio.create_task(more.wait())
    try:
        await asyncio.wait({*flying, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
