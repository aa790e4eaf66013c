"""How is a subscriber put through to somebody else? A second leg with its own hold, joined to the first until one ends.

As with the first one: the leg is committed as `placing`, then as `dialled`, and dialled once. It is ended in the store
before the first leg is, whoever hangs up first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from math import ceil
from typing import Any

import msgspec
import structlog
from msgspec import Struct, structs

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, NoTariff, PhoneInvalid
from zvonar.core.facts import TransferReport
from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.phone import Phone, is_town
from zvonar.core.reaction import Transfer
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import ScriptReport
from zvonar.dialer.book import Book
from zvonar.dialer.plan import MARGIN, Plan, guarded, outcome_of
from zvonar.dialer.routes import Draining, NoRoute, Route, Routes
from zvonar.line.line import (
    AlreadyExists,
    Dialled,
    Gateway,
    GatewayInDoubt,
    GatewayLost,
    GatewayRefused,
    HungUp,
    Line,
    LineEnd,
)
from zvonar.store import legs, transfers
from zvonar.store.db import Database
from zvonar.store.legs import LegEnd, LiveLeg
from zvonar.store.transfers import TransferPlacement, TransferRefusal

log = structlog.get_logger(__name__)

_SLOT = 10.0  # seconds that the subscriber waits for a channel of a trunk
_STORE = 10.0  # seconds for a commit that allows the INVITE

_REFUSED = {
    TransferRefusal.stopped: Disposition.blocked,
    TransferRefusal.trunk_busy: Disposition.congestion,
    TransferRefusal.no_money: Disposition.no_money,
    TransferRefusal.gone: Disposition.cancelled,
    TransferRefusal.fenced: Disposition.cancelled,
}


class _Failed(Exception):
    """Nobody was dialled."""

    def __init__(self, disposition: Disposition) -> None:
        super().__init__(disposition)
        self.disposition = disposition


class _Second(Struct, frozen=True, kw_only=True):
    """A leg that is committed as placing, or more."""

    leg: LegId
    trunk_id: int
    route: Route | None  # None: not our trunk any more
    rate: Rate
    caller_id: str | None
    max_seconds: int  # of conversation


# When somebody answered, in seconds from the answer of the call; and how the second leg ended.
_Talk = tuple[float | None, LineEnd]


def bound(plan: Plan, since: datetime, live: LiveLeg) -> int:
    """How many seconds of conversation were held for, when a second leg was placed. `since`: the call's answer."""
    return max(1, ceil(plan.max_call_time - (live.placed_at - since).total_seconds()))


def seconds_between(since: datetime, at: datetime) -> float:
    """As reports have them."""
    return round(max(0.0, (at - since).total_seconds()), 3)


class Transfers:
    """Puts subscribers through, over one gateway under one epoch."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        routes: Routes,
        book: Book,
        *,
        epoch: int,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._routes = routes
        self._book = book
        self._epoch = epoch
        self._now = now

    async def connect(
        self, plan: Plan, line: Line, transfer: Transfer, began: float, left: float
    ) -> TransferReport:
        """Put the subscriber of `line` through, and stay until one of them is gone or `left` seconds are over.

        `began`: seconds from the answer of the call. Never raises HungUp; the subscriber's line stays up where he has
        not hung up himself.
        """
        start = asyncio.get_running_loop().time() - began
        target = transfer.phone or transfer.sip_name or ""

        def report(disposition: Disposition, **more: Any) -> TransferReport:
            ended = round(asyncio.get_running_loop().time() - start, 3)
            return TransferReport(to=target, began=began, ended=ended, disposition=disposition, **more)

        try:
            second = await self._placed(plan, line, target, transfer, left)
        except _Failed as exc:
            log.info("transfer.failed", leg=str(line.leg), disposition=exc.disposition)
            return report(exc.disposition)
        try:
            talk = self._reach(plan, line, transfer, second, start, left)
            return report(**await self._served(plan, line, second, talk, start))
        finally:
            self._release(second)

    async def resume(self, plan: Plan, line: Line, other: Line, live: LiveLeg) -> TransferReport:
        """Go on with a conversation that an earlier dialer began, as `connect` does. Both lines are answered."""
        since = line.answered_at or self._now()
        start = asyncio.get_running_loop().time() - (self._now() - since).total_seconds()
        second = _Second(
            leg=LegId.parse(live.leg_id),
            trunk_id=live.trunk_id,
            route=self._routes.adopt(live.trunk_id),
            rate=msgspec.convert(live.rate, Rate, strict=False),
            caller_id=live.caller_id,
            max_seconds=bound(plan, since, live),
        )
        try:
            told = await self._served(
                plan, line, second, self._talk_on(plan, line, other, second, start), start
            )
        finally:
            self._release(second)
        began = seconds_between(since, live.placed_at)
        ended = round(asyncio.get_running_loop().time() - start, 3)
        return TransferReport(to=live.target or "", began=began, ended=ended, **told)

    def _release(self, second: _Second) -> None:
        if second.route is not None:
            self._routes.release(second.route)

    # The second leg begins.

    async def _placed(self, plan: Plan, line: Line, target: str, transfer: Transfer, left: float) -> _Second:
        account, tariff = await self._book.payer(plan.call.account_id)
        trial = plan.call.trial
        try:
            if transfer.phone is not None:
                trial = is_town(target)
                number = Phone(e164=target, country=plan.call.country, trial=trial)
                phones.check_destination(number, countries=account.countries)
            rate = tariff.rate_for(target if transfer.phone is not None else "")
        except (DestinationRefused, PhoneInvalid):
            raise _Failed(Disposition.blocked) from None
        except NoTariff:
            raise _Failed(Disposition.no_route) from None
        leased = structs.replace(plan.call, phone=target, trial=trial)
        ended = asyncio.ensure_future(line.end())
        slot = asyncio.ensure_future(self._routes.slot(leased, going_on=True))
        try:
            await asyncio.wait({ended, slot}, timeout=min(_SLOT, left), return_when=asyncio.FIRST_COMPLETED)
            if not slot.done():
                raise _Failed(Disposition.cancelled if ended.done() else Disposition.congestion)
            route = slot.result()
        except (NoRoute, Draining):
            raise _Failed(Disposition.no_route) from None
        finally:
            ended.cancel()
            if not slot.done():
                slot.cancel()
        try:
            return await self._place(plan, route, rate, target, trial, max(1, ceil(left)))
        except BaseException:
            self._routes.release(route)
            raise

    async def _place(
        self, plan: Plan, route: Route, rate: Rate, target: str, trial: bool, max_seconds: int
    ) -> _Second:
        settings = plan.settings
        caller_id = route.caller_id(settings.caller_ids, but=target)
        wanted = TransferPlacement(
            account_id=plan.call.account_id,
            call_id=plan.call.call_id,
            campaign_id=plan.call.campaign_id,
            gateway=self._gateway.name,
            epoch=self._epoch,
            trunk_id=route.trunk.trunk_id,
            caller_id=caller_id,
            target=target,
            trial=trial,
            rate=rate,
            hold=rate.worst_case(max_seconds),
            held_by_campaign=settings.max_cost is not None,
            guarded=guarded(settings),
        )
        # A subscriber waits: a database that is away for longer is no answer to him. What may have been committed then
        # is found by the next try, or taken back by the next dialer.
        try:
            async with asyncio.timeout(_STORE):
                leg = await self._db.patiently(
                    lambda: transfers.place(self._db, wanted, now=self._now()), what="transfer"
                )
        except TimeoutError:
            raise _Failed(Disposition.failed) from None
        if isinstance(leg, TransferRefusal):
            raise _Failed(_REFUSED[leg])
        return _Second(
            leg=leg,
            trunk_id=route.trunk.trunk_id,
            route=route,
            rate=rate,
            caller_id=caller_id,
            max_seconds=max_seconds,
        )

    # It rings, talks and ends.

    async def _served(
        self, plan: Plan, line: Line, second: _Second, talk: Awaitable[_Talk], start: float
    ) -> dict[str, Any]:
        """The second leg to its end, in the store as well."""
        answered: float | None = None
        try:
            answered, end = await talk
        except (GatewayLost, GatewayInDoubt):
            await self._gateway.discard(second.leg)
            known = await asyncio.to_thread(self._gateway.past, [second.leg])
            end = known.get(second.leg) or LineEnd(at=self._now(), vanished=True)
        return await self._record(plan, second, end, answered, gone=line.ended is not None)

    async def _reach(
        self, plan: Plan, line: Line, transfer: Transfer, second: _Second, start: float, left: float
    ) -> _Talk:
        until = asyncio.get_running_loop().time() + left
        other = await self._create(transfer, second)
        marked = await self._dialled(plan, second)
        if other is not None and marked:
            return await self._talk(plan, line, other, transfer, second, start, until)
        end = LineEnd(at=self._now())
        if other is not None:
            await other.hang_up()
        return None, end

    async def _create(self, transfer: Transfer, second: _Second) -> Line | None:
        wanted = Dialled(
            leg=second.leg,
            phone=transfer.phone or transfer.sip_name or "",
            trunk_id=second.trunk_id,
            caller_id=second.caller_id,
            ring_timeout=transfer.ring_timeout,
            max_seconds=transfer.ring_timeout + second.max_seconds + MARGIN,
        )
        try:
            return await self._gateway.create(wanted)
        except AlreadyExists:
            return await self._gateway.adopt(second.leg)
        except GatewayRefused as exc:
            log.warning("leg.refused", leg=str(second.leg), reason=exc.detail)
            return None

    async def _dialled(self, plan: Plan, second: _Second) -> bool:
        try:
            async with asyncio.timeout(_STORE):
                return await self._db.patiently(
                    lambda: legs.mark_dialled(
                        self._db,
                        account_id=plan.call.account_id,
                        leg=second.leg,
                        epoch=self._epoch,
                        now=self._now(),
                    ),
                    what="dialled",
                )
        except TimeoutError:
            return False

    async def _talk(
        self,
        plan: Plan,
        line: Line,
        other: Line,
        transfer: Transfer,
        second: _Second,
        start: float,
        until: float,
    ) -> _Talk:
        loop = asyncio.get_running_loop()
        answered: float | None = None
        gone = asyncio.ensure_future(line.end())
        try:
            await line.tone(True)
            await self._gateway.dial(other, ring_timeout=transfer.ring_timeout)
            reached = asyncio.ensure_future(other.answered())
            await asyncio.wait(
                {gone, reached}, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            if not reached.done():
                reached.cancel()
                return None, await other.hang_up()
            at = reached.result()
            answered = round(loop.time() - start, 3)
            async with asyncio.TaskGroup() as group:
                # Beside the conversation, which waits for no disk.
                group.create_task(self._mark(plan, second.leg, at))
                await self._converse(plan, line, other, gone, until)
        except HungUp:
            pass  # one of them has gone; whose end it is, is seen below
        except GatewayRefused as exc:
            log.warning("transfer.refused", leg=str(other.leg), reason=exc.detail)
        finally:
            gone.cancel()
        if line.ended is None and answered is None:
            await self._quiet(line)
        return answered, await other.hang_up()

    async def _talk_on(self, plan: Plan, line: Line, other: Line, second: _Second, start: float) -> _Talk:
        """What is left of a conversation. Where they had not been joined yet, they are now."""
        at = other.answered_at or self._now()
        gone = asyncio.ensure_future(line.end())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._mark(plan, second.leg, at))
                await self._converse(plan, line, other, gone, start + plan.max_call_time)
        finally:
            gone.cancel()
        answered = seconds_between(line.answered_at or at, at)
        return answered, await other.hang_up()

    async def _converse(
        self, plan: Plan, line: Line, other: Line, gone: "asyncio.Future[LineEnd]", until: float
    ) -> None:
        """Until one of them hangs up, or time is up."""
        over = asyncio.ensure_future(other.end())
        try:
            await line.tone(False)
            if plan.settings.record:
                # What is said to the subscriber is on his own line's sides already.
                await other.start_recording(sides=False)
            await line.join(other)
            left = until - asyncio.get_running_loop().time()
            await asyncio.wait({gone, over}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        except HungUp:
            pass  # before they heard each other
        except GatewayRefused as exc:
            log.warning("transfer.refused", leg=str(other.leg), reason=exc.detail)
        finally:
            over.cancel()

    async def _quiet(self, line: Line) -> None:
        try:
            await line.tone(False)
        except (HungUp, GatewayRefused) as exc:
            log.info("transfer.tone", leg=str(line.leg), error=type(exc).__name__)

    async def _mark(self, plan: Plan, leg: LegId, at: datetime) -> None:
        await self._db.patiently(
            lambda: transfers.mark_answered(self._db, account_id=plan.call.account_id, leg=leg, at=at),
            what="answered",
        )

    async def _record(
        self,
        plan: Plan,
        second: _Second,
        end: LineEnd,
        answered: float | None,
        *,
        gone: bool,
    ) -> dict[str, Any]:
        """End the second leg in the store, with its money."""
        outcome = outcome_of(end, ScriptReport(result=ScriptResult.none))
        if end.answered_at is None and end.by_us:
            # Our own CANCEL says nothing about the callee: the subscriber was gone, or time was up.
            disposition = Disposition.cancelled if gone else Disposition.no_answer
            outcome = Outcome(disposition=disposition, hangup_cause=outcome.hangup_cause)
        seconds = (end.at - end.answered_at).total_seconds() if end.answered_at else 0.0
        billable = min(seconds, float(second.max_seconds))
        recording = self._gateway.recording(second.leg) if plan.settings.record and end.answered_at else None
        ended = LegEnd(
            account_id=plan.call.account_id,
            campaign_id=plan.call.campaign_id,
            leg_id=second.leg,
            outcome=outcome,
            ended_at=end.at,
            answered_at=end.answered_at,
            billed_seconds=second.rate.billed_seconds(billable),
            cost=second.rate.charge(billable),
        )
        await self._db.patiently(lambda: legs.end(self._db, ended, now=self._now()), what="transfer end")
        log.info(
            "transfer.ended",
            leg=str(second.leg),
            disposition=outcome.disposition,
            cause=outcome.hangup_cause,
            sip=outcome.sip_code,
            seconds=outcome.talk_seconds,
        )
        return {
            "disposition": outcome.disposition,
            "answered": answered,
            "talk_seconds": outcome.talk_seconds,
            "leg": str(second.leg),
            "recording": recording,
        }
