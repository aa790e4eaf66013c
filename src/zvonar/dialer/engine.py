"""Which calls are dialled now? The loop that leases due calls, paces them, and ends campaigns that are done."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog

from zvonar.core import phone as phones
from zvonar.core.call import CallState, Next, after_attempt
from zvonar.core.campaign import CallOverrides, script_of
from zvonar.core.errors import DestinationRefused, NoTariff
from zvonar.core.leg import LegId
from zvonar.core.money import Rate, Tariff
from zvonar.core.phone import Phone
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.core.schedule import zone_of
from zvonar.core.script import Prompt, Script, plain
from zvonar.dialer import meters
from zvonar.dialer.attempt import Attempts, Plan, Refused, retry_policy, soon
from zvonar.dialer.prompts import Prompts
from zvonar.dialer.recovery import recover
from zvonar.dialer.routes import NoRoute, Routes
from zvonar.line.line import Gateway, GatewayInDoubt, GatewayLost, Line
from zvonar.speech import SpeechFailed
from zvonar.store import accounts, calls, campaigns, epochs, legs, sessions, trunks
from zvonar.store.accounts import Account
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.epochs import Fenced
from zvonar.store.legs import LiveLeg, Refusal

log = structlog.get_logger(__name__)

_LOOK = 1.0  # seconds between looks at campaigns and trunks when nobody notifies
_AHEAD = 1.0  # seconds' worth of placements to lease ahead of their slots
_AHEAD_MIN = 10
_AHEAD_MAX = 100
_MONEY_SOON = 5.0  # seconds until a call without money is looked at again, while other calls hold some
_CAPPED = 3600.0  # seconds until a callee who was called too often is looked at again
_SWEEP = timedelta(seconds=10)  # between looks at campaigns in which nothing was dialled
_SILENT = Script(nodes={})


class Dialer:
    """The dialer of one gateway."""

    def __init__(
        self, db: Database, gateway: Gateway, prompts: Prompts, *, now: Callable[[], datetime], drain: float = 60.0
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._prompts = prompts
        self._now = now
        self._drain = drain
        self._routes = Routes()
        self._campaigns: dict[int, Campaign] = {}
        self._payers: dict[int, tuple[Account, Tariff]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._up: dict[int, int] = {}  # calls in hand, by campaign
        self._due: dict[int, float] = {}  # loop time until which a campaign had nothing due
        self._wake = asyncio.Event()
        self._fenced = asyncio.Event()
        self._waiting = 0  # calls leased and not yet placed
        self._maybe_done: set[int] = set()  # campaigns whose last call may have ended
        self._epoch = 0

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Dial until `stop`, then drain. Raises Fenced when another dialer takes the gateway over.

        `ready` is called once what an earlier dialer left is settled.
        """
        self._epoch = await self._db.patiently(
            lambda: epochs.claim(self._db, self._gateway.name, now=self._now()), what="epoch"
        )
        log.info("dialer.started", gateway=self._gateway.name, epoch=self._epoch)
        self._attempts = Attempts(
            self._db, self._gateway, self._routes, epoch=self._epoch, now=self._now
        )
        await self._db.patiently(lambda: sessions.ensure_months(self._db, now=self._now()), what="months")
        await self._look()
        for plan, line in await self._recover():
            self._begin(self._resume(plan, line), plan.campaign.campaign_id)
        ready()
        helpers = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_house())]
        try:
            await self._lease_until(stop)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._finish()
        if self._fenced.is_set():
            raise Fenced()

    def abandon(self) -> None:
        """Do not drain: leave what is up to the next dialer."""
        self._drain = 0.0

    @property
    def in_hand(self) -> int:
        """Calls that are leased, dialled or talking."""
        return len(self._tasks)

    async def _recover(self) -> list[tuple[Plan, Line]]:
        while True:
            try:
                return await recover(
                    self._db, self._gateway, self._attempts, plan_of=self._plan_of_leg, now=self._now
                )
            except (GatewayLost, GatewayInDoubt, StoreUnavailable) as exc:
                # Nothing is dialled before it is known what was up.
                log.warning("dialer.cannot_recover_yet", error=type(exc).__name__)
                await asyncio.sleep(0.5)

    async def _lease_until(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        fenced = asyncio.create_task(self._fenced.wait())
        try:
            while not stop.is_set() and not self._fenced.is_set():
                self._wake.clear()
                full = False
                try:
                    full = await self._lease()
                except StoreUnavailable:
                    log.warning("dialer.waiting_for_store")
                    await asyncio.sleep(0.5)
                waking = asyncio.create_task(self._wake.wait())
                await asyncio.wait(
                    {stopping, fenced, waking},
                    timeout=0 if full else _LOOK,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                waking.cancel()
        finally:
            stopping.cancel()
            fenced.cancel()

    async def _lease(self) -> bool:
        """Lease what may be dialled soon; whether there is more at once."""
        now = self._now()
        wanted = []
        rate = self._routes.per_second
        ahead = _AHEAD_MAX if rate is None else int(min(_AHEAD_MAX, max(_AHEAD_MIN, rate * _AHEAD)))
        room = min(self._routes.free, ahead - self._waiting)
        clock = asyncio.get_running_loop().time()
        for campaign in self._campaigns.values():
            if room <= 0:
                break
            if self._due.get(campaign.campaign_id, 0.0) > clock or not self._open(campaign, now):
                continue
            limit = room
            if campaign.settings.max_channels:
                limit = min(limit, campaign.settings.max_channels - self._up.get(campaign.campaign_id, 0))
            if limit > 0:
                wanted.append((campaign.account_id, campaign.campaign_id, limit))
        if not wanted:
            return False
        # Everyone gets a fair part of the room; what one leaves, the next round gives to the others.
        share = max(1, room // len(wanted))
        asked = [(account, campaign, min(limit, share)) for account, campaign, limit in wanted[:room]]
        leased = await calls.lease(self._db, asked, epoch=self._epoch, now=now)
        got: dict[int, int] = {}
        for call in leased:
            got[call.campaign_id] = got.get(call.campaign_id, 0) + 1
            meters.lease_lag.observe(max(0.0, (now - call.due_at).total_seconds()))
            self._begin(self._serve(call), call.campaign_id)
        for _, campaign_id, limit in asked:
            if got.get(campaign_id, 0) < limit:
                self._due[campaign_id] = clock + _LOOK / 2
        return bool(leased) and room > len(leased)

    def _begin(self, work: Coroutine[Any, Any, None], campaign_id: int) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._up[campaign_id] = self._up.get(campaign_id, 0) + 1
        meters.lines.set(len(self._tasks))

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._up[campaign_id] -= 1
            if self._up[campaign_id] == 0:
                del self._up[campaign_id]
                self._maybe_done.add(campaign_id)
            meters.lines.set(len(self._tasks))
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                if isinstance(error, Fenced):
                    self._fenced.set()
                else:
                    log.error("dialer.call_failed", error=type(error).__name__, exc_info=error)

        task.add_done_callback(done)

    async def _serve(self, call: Leased) -> None:
        """Everything that one leased call needs, until it is recorded or given back."""
        since = asyncio.get_running_loop().time()
        self._waiting += 1
        placed = False

        def no_longer_ahead() -> None:
            nonlocal placed
            if not placed:
                placed = True
                self._waiting -= 1

        try:
            await self._try(call, since, no_longer_ahead)
        except StoreUnavailable:
            # Nothing was placed; the lease is freed when the store is back.
            await self._give_back(call, self._now())
        finally:
            no_longer_ahead()

    async def _try(self, call: Leased, since: float, placed: Callable[[], None]) -> None:
        campaign = self._campaigns.get(call.campaign_id)
        if campaign is None:
            await self._give_back(call, self._now())
            return
        now = self._now()
        if not self._open(campaign, now):
            await self._outside_window(call, campaign, now)
            return
        try:
            plan = await self._plan(call, campaign)
            await self._attempts.make(plan, since=since, placed=placed)
        except SpeechFailed as exc:
            log.warning("call.no_prompt", call=call.call_id, error=type(exc).__name__)
            await self._fail(call, campaign, Disposition.synth_failed)
        except (NoRoute, NoTariff):
            await self._fail(call, campaign, Disposition.no_route)
        except DestinationRefused:
            await self._fail(call, campaign, Disposition.blocked)
        except Refused as exc:
            await self._refused(call, campaign, exc.refusal)

    async def _plan(self, call: Leased, campaign: Campaign) -> Plan:
        account, tariff = await self._payer(call.account_id)
        number = Phone(e164=call.phone, country=call.country, trial=call.trial)
        phones.check_destination(number, countries=account.countries)
        overrides = msgspec.convert(call.overrides or {}, CallOverrides)
        script = script_of(campaign.settings, overrides)
        if script is None:
            if call.clip_id is None:
                raise SpeechFailed("The campaign says nothing, and neither does the call.")
            script = plain(Prompt(clip_id=call.clip_id))
        voice = overrides.voice or campaign.settings.voice
        clips = await self._prompts.files(call.account_id, voice, script.prompts())
        return Plan(
            call=call,
            campaign=campaign,
            overrides=overrides,
            script=script,
            clips=clips,
            rate=tariff.rate_for(call.phone),
        )

    async def _plan_of_leg(self, call: Leased, live: LiveLeg) -> Plan | None:
        """The plan of a leg that is up already. A prompt that cannot be had now must not keep it from its end."""
        campaign = await campaigns.get(self._db, call.account_id, call.campaign_id)
        try:
            return await self._plan(call, campaign)
        except (SpeechFailed, NoTariff, DestinationRefused):
            overrides = msgspec.convert(call.overrides or {}, CallOverrides)
            rate = msgspec.convert(live.rate, Rate, strict=False)
            return Plan(
                call=call, campaign=campaign, overrides=overrides, script=_SILENT, clips={}, rate=rate
            )

    async def _resume(self, plan: Plan, line: Line) -> None:
        await self._attempts.resume(plan, line)

    async def _refused(self, call: Leased, campaign: Campaign, refusal: Refusal) -> None:
        now = self._now()
        match refusal:
            case Refusal.fenced:
                raise Fenced()
            case Refusal.no_money:
                await self._fail(call, campaign, Disposition.no_money)
            case Refusal.no_money_yet:
                await self._give_back(call, soon(now, _MONEY_SOON))
            case Refusal.capped:
                await self._give_back(call, soon(now, _CAPPED))
            case Refusal.campaign_busy | Refusal.trunk_busy:
                await self._give_back(call, soon(now, 0.2))
            case Refusal.gone:
                await self._gone(call, campaign, now)

    async def _gone(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        gone = await calls.why_gone(self._db, call, epoch=self._epoch, now=now)
        if gone is None or not gone.ours or gone.state not in (CallState.queued, CallState.waiting):
            return
        if gone.removing:
            await calls.leave_queue(self._db, call, state="removed", call_end="removed", now=now)
        elif gone.expired:
            await calls.leave_queue(self._db, call, state="expired", call_end="expired", now=now)
        elif gone.stopped:
            await self._fail(call, campaign, Disposition.blocked)
        else:
            await self._give_back(call, now)

    async def _fail(self, call: Leased, campaign: Campaign, disposition: Disposition) -> None:
        """Record an attempt that never became a leg."""
        now = self._now()
        outcome = Outcome(disposition=disposition)
        if disposition is Disposition.blocked:
            after = Next(state=CallState.blocked, call_end=CallEnd.stopped)
        else:
            after = after_attempt(
                outcome,
                policy=retry_policy(campaign.settings),
                history=await self._history(call),
                now=now,
                removing=False,
                expires_at=call.expires_at,
            )
        if await self._db.patiently(
            lambda: calls.fail(self._db, call, outcome, after, epoch=self._epoch, now=now), what="fail"
        ):
            meters.attempts.labels(disposition, "none").inc()

    async def _history(self, call: Leased) -> tuple[Outcome, ...]:
        if call.attempts == 0:
            return ()
        leg = LegId(call.call_id, call.attempts + 1, 1)
        return await legs.history(self._db, account_id=call.account_id, leg=leg)

    async def _outside_window(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        opens = campaign.settings.window.next_opening(now, self._zone(campaign))
        if opens is None:
            await calls.leave_queue(self._db, call, state="expired", call_end="expired", now=now)
        else:
            await self._give_back(call, opens)

    async def _give_back(self, call: Leased, due_at: datetime) -> None:
        await self._db.patiently(
            lambda: calls.release(self._db, call, epoch=self._epoch, due_at=due_at), what="release"
        )

    def _open(self, campaign: Campaign, now: datetime) -> bool:
        return campaign.settings.window.is_open(now, self._zone(campaign))

    def _zone(self, campaign: Campaign) -> ZoneInfo:
        account, _ = self._payers[campaign.account_id]
        return zone_of(campaign.settings.timezone or account.timezone)

    async def _payer(self, account_id: int) -> tuple[Account, Tariff]:
        return self._payers.get(account_id) or await self._read_payer(account_id)

    async def _read_payer(self, account_id: int) -> tuple[Account, Tariff]:
        account = await accounts.get(self._db, account_id)
        return account, await accounts.tariff_of(self._db, account)

    async def _look(self) -> None:
        """Take campaigns, trunks and accounts as the store has them now."""
        running = await campaigns.running(self._db)
        self._payers = {
            account_id: await self._read_payer(account_id)
            for account_id in {campaign.account_id for campaign in running}
        }
        self._campaigns = {campaign.campaign_id: campaign for campaign in running}
        self._routes.renew(await trunks.of_gateway(self._db, self._gateway.name))

    async def _listen(self) -> None:
        async for channel in self._db.notifications("zvonar_calls", "zvonar_campaigns"):
            self._due.clear()
            if channel == "zvonar_campaigns":
                await self._looked()
            self._wake.set()

    async def _keep_house(self) -> None:
        """What time alone brings about: windows, lifetimes, ends of campaigns, the next month's tables."""
        swept = hourly = datetime.min.replace(tzinfo=UTC)
        while True:
            await asyncio.sleep(_LOOK / 2)
            await self._looked()
            with contextlib.suppress(StoreUnavailable):
                now = self._now()
                await self._end_campaigns(self._maybe_done, now)
                if now - swept > _SWEEP:
                    # Calls also end without us: removed by a client, expired while waiting.
                    swept = now
                    await calls.expire(self._db, now=now)
                    await self._end_campaigns(set(self._campaigns), now)
                if now - hourly > timedelta(hours=1):
                    hourly = now
                    await sessions.ensure_months(self._db, now=now)

    async def _end_campaigns(self, candidates: set[int], now: datetime) -> None:
        for campaign_id in list(candidates):
            candidates.discard(campaign_id)
            campaign = self._campaigns.get(campaign_id)
            if campaign is None or self._up.get(campaign_id):
                continue
            if campaign.settings.window.next_opening(now, self._zone(campaign)) is None:
                await campaigns.expire_queue(self._db, campaign.account_id, campaign_id, now=now)
            if not campaign.settings.open_ended:
                await campaigns.complete_if_done(self._db, campaign.account_id, campaign_id, now=now)

    async def _looked(self) -> None:
        try:
            await self._look()
        except StoreUnavailable:
            log.warning("dialer.waiting_for_store")
        self._wake.set()

    async def _finish(self) -> None:
        """Drain: what is not placed goes back, what is up ends by itself or is left for the next dialer."""
        with contextlib.suppress(StoreUnavailable):
            await calls.release_all(self._db, epoch=self._epoch)
        if self._tasks and not self._fenced.is_set():
            log.info("dialer.draining", calls=len(self._tasks))
            await asyncio.wait(self._tasks, timeout=self._drain)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            log.info("dialer.handed_back", calls=len(left))
