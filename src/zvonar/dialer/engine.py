"""Which calls are dialled now? The loop that leases due calls, shares them out, and ends campaigns that are done."""

import asyncio
import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from zvonar.core.campaign import Waits
from zvonar.core.share import Claim, portions, quotas
from zvonar.dialer import meters
from zvonar.dialer.attempt import Attempts
from zvonar.dialer.book import Book
from zvonar.dialer.inbound import Reception
from zvonar.dialer.prompts import Prompts
from zvonar.dialer.recovery import Adopted, recover
from zvonar.dialer.routes import Routes
from zvonar.dialer.serve import Server
from zvonar.dialer.sift import Sieve
from zvonar.dialer.watch import Watch
from zvonar.line.ears import Ears
from zvonar.line.line import Arrival, Gateway, GatewayInDoubt, GatewayLost
from zvonar.store import calls, epochs, inbound, sessions, steering
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.epochs import Fenced

log = structlog.get_logger(__name__)

_LOOK = 1.0  # seconds between looks when nobody notifies; at trunks and accounts every other time
_AHEAD = 1.0  # seconds' worth of placements to lease ahead of their slots
_AHEAD_MIN = 10
_AHEAD_MAX = 100
_SOON = 0.05  # seconds from a call's end until its campaign is looked at again
_PIECES = 10  # of a thousand calls of one campaign that are ended at one look
_SWEEP = timedelta(seconds=10)  # between looks at campaigns in which nothing was dialled


class Dialer:
    """The dialer of one gateway."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        prompts: Prompts,
        *,
        now: Callable[[], datetime],
        drain: float = 60.0,
        ears: Ears | None = None,
    ) -> None:
        """`drain`: seconds that calls in progress get to end by themselves when it is told to stop.

        `ears`: who recognises words; without any, keys alone are understood.
        """
        self._ears = ears
        self._db = db
        self._gateway = gateway
        self._prompts = prompts
        self._now = now
        self._drain = drain
        self._routes = Routes()
        self._book = Book(db, self._routes, gateway=gateway.name)
        self._sieve = Sieve(db, self._book)
        self._tasks: set[asyncio.Task[None]] = set()
        self._up: Counter[int] = Counter()  # calls in hand, by campaign
        self._ahead: Counter[int] = Counter()  # of these, leased and without a slot yet
        self._due: dict[int, float] = {}  # loop time until which a campaign had nothing due
        self._wake = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._fenced = asyncio.Event()
        self._abandoned = asyncio.Event()
        self._maybe_done: set[int] = set()  # campaigns whose last call may have ended
        self._epoch = 0
        self._server: Server
        self._reception: Reception

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Dial until `stop`, then drain. Raises Fenced when another dialer takes the gateway over.

        `ready` is called once what an earlier dialer left is settled.
        """
        starting = asyncio.create_task(self._start())
        if not await _before(stop, starting):
            return
        attempts, adopted = starting.result()
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_house())]
        try:
            for helper in helpers:
                helper.add_done_callback(lambda _: self._wake.set())
            for found in adopted:
                resumed = attempts.resume(
                    found.plan, found.leg, found.line, trunk_id=found.trunk_id, second=found.second
                )
                self._begin(resumed, found.plan.campaign.campaign_id)
            self._gateway.on_arrival(self._take)
            ready()
            await self._lease_until(stop, helpers)
            await self._finish()
        finally:
            await _cancelled({*helpers, *self._tasks})
            if self._waking is not None:
                self._waking.cancel()
        if self._fenced.is_set():
            raise Fenced()

    def abandon(self) -> None:
        """Do not drain, or no longer: leave what is up to the next dialer."""
        self._abandoned.set()

    @property
    def in_hand(self) -> int:
        """Calls that are leased, dialled or talking."""
        return len(self._tasks)

    async def _start(self) -> tuple[Attempts, list[Adopted]]:
        """Take the gateway, and settle what was left there. Nothing is dialled before it is known what was up."""
        self._epoch = await self._db.patiently(
            lambda: epochs.claim(self._db, self._gateway.name, now=self._now()), what="epoch"
        )
        log.info("dialer.started", gateway=self._gateway.name, epoch=self._epoch)
        watch = Watch(self._db, now=self._now)
        attempts = Attempts(
            self._db,
            self._gateway,
            self._routes,
            self._book,
            watch,
            epoch=self._epoch,
            now=self._now,
            ears=self._ears,
        )
        self._reception = Reception(
            self._db, self._gateway, self._book, self._prompts, epoch=self._epoch, now=self._now
        )
        self._server = Server(
            self._db, self._book, attempts, self._prompts, watch, epoch=self._epoch, now=self._now
        )
        await self._db.patiently(lambda: sessions.ensure_months(self._db, now=self._now()), what="months")
        await self._db.patiently(self._book.look, what="look")
        while True:
            try:
                adopted = await recover(
                    self._db, self._gateway, attempts, plan_of=self._server.plan_of_leg, now=self._now
                )
                for left in await inbound.live(self._db, self._gateway.name):
                    await self._reception.recover(left)
                # Whoever took the gateway meanwhile has adopted the same lines.
                await self._check_fence()
                return attempts, adopted
            except (GatewayLost, GatewayInDoubt, StoreUnavailable) as exc:
                log.warning("dialer.cannot_recover_yet", error=type(exc).__name__)
                await asyncio.sleep(0.5)

    async def _check_fence(self) -> None:
        async with self._db.connection() as connection:
            await epochs.check(connection, self._gateway.name, self._epoch)

    async def _lease_until(self, stop: asyncio.Event, helpers: Sequence[asyncio.Task[None]]) -> None:
        with _waiting_for(stop, self._fenced) as ends:
            for end in ends:
                end.add_done_callback(lambda _: self._wake.set())
            while not stop.is_set() and not self._fenced.is_set():
                for helper in helpers:
                    if helper.done():
                        helper.result()  # raises what ended it: nobody listens or keeps house any more
                self._wake.clear()
                full = False
                try:
                    full = await self._lease()
                except StoreUnavailable:
                    log.warning("dialer.waiting_for_store")
                    await asyncio.sleep(0.5)
                if full:
                    await asyncio.sleep(0)
                    continue
                looking = asyncio.get_running_loop().call_later(_LOOK, self._wake.set)
                await self._wake.wait()
                looking.cancel()

    async def _lease(self) -> bool:
        """Lease what may be dialled soon; whether there is more at once."""
        now, clock = self._now(), asyncio.get_running_loop().time()
        hungry = [
            campaign
            for campaign in self._book.campaigns.values()
            if self._due.get(campaign.campaign_id, 0.0) <= clock and self._book.open(campaign, now)
        ]
        rate = self._routes.per_second
        ahead = _AHEAD_MAX if rate is None else int(min(_AHEAD_MAX, max(_AHEAD_MIN, rate * _AHEAD)))
        room = min(self._routes.free, ahead - self._ahead.total())
        # Nobody waits with so many calls that there is no room for another campaign's.
        fair = quotas(ahead, ((campaign.campaign_id, campaign.settings.weight) for campaign in hungry))
        limits = {
            campaign.campaign_id: self._limit(campaign, fair[campaign.campaign_id]) for campaign in hungry
        }
        # Whoever has the fewest calls up beside its weight comes first; where there is less room than campaigns, all
        # have their turn.
        shares = portions(
            max(0, room),
            {
                campaign.campaign_id: Claim(
                    weight=campaign.settings.weight,
                    up=self._up[campaign.campaign_id],
                    limit=limits[campaign.campaign_id],
                )
                for campaign in hungry
            },
        )
        asked = [
            (
                campaign.account_id,
                campaign.campaign_id,
                self._sieve.to_lease(campaign, shares[campaign.campaign_id]),
            )
            for campaign in hungry
            if shares[campaign.campaign_id] > 0
        ]
        if not asked:
            return False
        leased = await calls.lease(self._db, asked, epoch=self._epoch, now=now)
        got = Counter(call.campaign_id for call in leased)
        sound = await self._sieve.sift(leased, shares, epoch=self._epoch, now=now)
        for call in sound:
            meters.lease_lag.observe(max(0.0, (now - call.due_at).total_seconds()))
            self._begin(self._serve(call), call.campaign_id)
        for _, campaign_id, limit in asked:
            if got[campaign_id] < limit:
                self._due[campaign_id] = clock + _LOOK / 2
        # Where many had to go back, others may be due behind them.
        return bool(leased) and (room > len(leased) or len(sound) < len(leased))

    def _limit(self, campaign: Campaign, fair: int) -> int:
        """How many calls this campaign may be given now, by its own limits and for others' sake."""
        up, waiting = self._up[campaign.campaign_id], self._ahead[campaign.campaign_id]
        limit = fair - waiting
        if campaign.settings.max_channels:
            limit = min(limit, campaign.settings.max_channels - up)
        if campaign.settings.calls_per_second:
            limit = min(limit, 1 + math.ceil(float(campaign.settings.calls_per_second) * _AHEAD) - waiting)
        return limit

    async def _serve(self, call: Leased) -> None:
        self._ahead[call.campaign_id] += 1
        placed = False

        def no_longer_ahead() -> None:
            nonlocal placed
            if not placed:
                placed = True
                self._ahead[call.campaign_id] -= 1
                if self._ahead.total() <= _AHEAD_MIN // 2:
                    self._wake.set()

        await self._server.serve(call, placed=no_longer_ahead)

    def _take(self, arrival: Arrival) -> None:
        """A call has come in."""
        task = asyncio.create_task(self._reception.receive(arrival), name="inbound")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _decline(self, arrival: Arrival) -> None:
        """Nobody is received any more: the next dialer will be there in a moment."""
        task = asyncio.create_task(_declined(arrival), name="inbound")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, work: Coroutine[Any, Any, None], campaign_id: int) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._up[campaign_id] += 1

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._up[campaign_id] -= 1
            if self._up[campaign_id] == 0:
                self._maybe_done.add(campaign_id)
            self._wake_soon(campaign_id)
            if not task.cancelled() and (error := task.exception()) is not None:
                if isinstance(error, Fenced):
                    self._fenced.set()
                else:
                    log.error("dialer.call_failed", error=type(error).__name__, exc_info=error)

        task.add_done_callback(done)

    def _wake_soon(self, campaign_id: int) -> None:
        """A call is over. Where there are channels left nobody waits for one: some calls are leased ahead."""
        campaign = self._book.campaigns.get(campaign_id)
        most = campaign.settings.max_channels if campaign is not None else 0
        if self._routes.free <= 1 or (most and self._up[campaign_id] + 1 >= most):
            self._wake.set()
        elif self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(_SOON, self._wake_now)

    def _wake_now(self) -> None:
        self._waking = None
        self._wake.set()

    async def _listen(self) -> None:
        async for channel in self._db.notifications("zvonar_calls", "zvonar_campaigns"):
            self._due.clear()
            if channel == "zvonar_campaigns":
                with _patience():
                    await self._book.look()
            self._wake.set()

    async def _keep_house(self) -> None:
        """What time alone brings about: windows, lifetimes, ends of campaigns, the next month's tables."""
        swept = hourly = datetime.min.replace(tzinfo=UTC)
        for half in itertools.count():
            await asyncio.sleep(_LOOK / 2)
            meters.lines.set(len(self._tasks))
            self._routes.tell()
            now = self._now()
            with _patience():
                if half % 2 == 0:
                    try:
                        await self._check_fence()
                    except Fenced:
                        self._fenced.set()
                        return
                await self._end_campaigns(self._maybe_done, now)
                if half % 2:
                    continue
                if half % 4 == 0:
                    await self._book.look()
                self._wake.set()
                await self._turn_campaigns(now)
                if now - swept > _SWEEP:
                    # Calls also end without us: removed by a client, expired while waiting.
                    await calls.expire(self._db, now=now)
                    await self._end_campaigns(set(self._book.campaigns), now)
                    for campaign in list(self._book.incoming.values()):
                        if not campaign.settings.open_ended:
                            await steering.complete_if_done(
                                self._db, campaign.account_id, campaign.campaign_id, over=False, now=now
                            )
                    swept = now
                if now - hourly > timedelta(hours=1):
                    await sessions.ensure_months(self._db, now=now)
                    hourly = now

    async def _turn_campaigns(self, now: datetime) -> None:
        """Say of campaigns that their window has closed or opened, and empty those that are cancelled."""
        for campaign in list(self._book.campaigns.values()):
            ids = campaign.account_id, campaign.campaign_id
            is_open = self._book.open(campaign, now)
            if campaign.waits is Waits.awaiting and is_open:
                await steering.go_on(self._db, *ids, now=now)
            elif campaign.waits is None and not is_open and not self._up[campaign.campaign_id]:
                await steering.await_window(self._db, *ids, now=now)
        for cancelled in await steering.emptying(self._db):
            for _ in range(_PIECES):
                ids = cancelled.account_id, cancelled.campaign_id
                if await steering.empty(self._db, *ids, now=now):
                    break

    async def _end_campaigns(self, candidates: set[int], now: datetime) -> None:
        for campaign_id in list(candidates):
            campaign = self._book.campaigns.get(campaign_id)
            if campaign is not None and not self._up[campaign_id]:
                over = self._book.opens(campaign, now) is None
                if over and not await self._expire(campaign, now):
                    continue  # there are more, and others wait for their turn
                if not campaign.settings.open_ended:
                    await steering.complete_if_done(
                        self._db, campaign.account_id, campaign_id, over=over, now=now
                    )
            candidates.discard(campaign_id)

    async def _expire(self, campaign: Campaign, now: datetime) -> bool:
        """End what waits in a campaign that is over; whether that was all."""
        for _ in range(_PIECES):
            if not await steering.expire_queue(self._db, campaign.account_id, campaign.campaign_id, now=now):
                return True
        self._maybe_done.add(campaign.campaign_id)
        return False

    async def _finish(self) -> None:
        """Drain: what is not placed goes back, what is up ends by itself or is left for the next dialer."""
        self._routes.close()
        self._gateway.on_arrival(self._decline)
        with contextlib.suppress(StoreUnavailable):
            await calls.release_all(self._db, epoch=self._epoch)
        if self._tasks:
            log.info("dialer.draining", calls=len(self._tasks))
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain
        with _waiting_for(self._fenced, self._abandoned) as ends:
            while self._tasks and (left := until - loop.time()) > 0:
                if self._fenced.is_set() or self._abandoned.is_set():
                    break
                await asyncio.wait({*self._tasks, *ends}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if self._tasks:
            log.info("dialer.handed_back", calls=len(self._tasks))


async def _declined(arrival: Arrival) -> None:
    await arrival.line.hang_up(cause=41)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """What the store cannot do now is done at the next look."""
    try:
        yield
    except StoreUnavailable:
        log.warning("dialer.waiting_for_store")


@contextlib.contextmanager
def _waiting_for(*events: asyncio.Event) -> Iterator[list[asyncio.Task[Any]]]:
    """A task for each event that ends when it is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        yield waits
    finally:
        for wait in waits:
            wait.cancel()


async def _before(stop: asyncio.Event, work: asyncio.Task[Any]) -> bool:
    """Whether the work was done before `stop`, which ends it."""
    with _waiting_for(stop) as ends:
        try:
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
    return not work.cancelled()


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their ends, asking again each second.

    Until Python 3.12 a cancellation is lost where asyncio.wait_for, which the database's driver waits by, has its
    answer at the same moment.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
    await asyncio.gather(*tasks, return_exceptions=True)
