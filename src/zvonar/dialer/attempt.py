"""How is one leased call dialled at most once, and its result recorded whatever happens?

(1) the leg is committed as `placing`, with its hold; (2) its channel is created, which sends nothing; (3) it is
committed as `dialled`; (4) it is dialled, once. On doubt the channel is asked, the request never repeated.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime

import structlog
from msgspec import Struct, structs

from zvonar.core import call as calls_core
from zvonar.core.campaign import CampaignType
from zvonar.core.facts import TransferReport
from zvonar.core.leg import LegId
from zvonar.core.reaction import Reaction, Transfer, Triggered
from zvonar.core.result import Outcome, ScriptResult, goes_to_next_leg
from zvonar.core.script import ScriptReport, put_through
from zvonar.dialer import meters
from zvonar.dialer.book import Book
from zvonar.dialer.commits import Commits, Together
from zvonar.dialer.plan import MARGIN, Plan, guarded, outcome_of, retry_policy, unanswered, weighed
from zvonar.dialer.routes import NoCallerId, NoRoute, OwnNumber, Route, Routes
from zvonar.dialer.run import Switchboard, run
from zvonar.dialer.transfer import Transfers
from zvonar.dialer.watch import Watch
from zvonar.line.ears import Ears
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
from zvonar.store import legs, reactions
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.epochs import Fenced
from zvonar.store.legs import Answered, LegEnd, LiveLeg, Marked, Placement, Refusal

log = structlog.get_logger(__name__)

_NEXT_LEG = 10.0  # seconds that a failed leg waits for a slot of another trunk
# Seconds until a placement is tried again that only lacked a slot.
_SOON = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
_WITHOUT_GATEWAY = 10.0  # seconds that a placed leg waits for its channel until it is taken back


_Served = tuple[LineEnd, ScriptReport]


class _Placed(Struct, frozen=True, kw_only=True):
    """A leg that is committed as placing."""

    route: Route
    leg: LegId
    caller_id: str | None
    together: Together


class Second(Struct, frozen=True, kw_only=True):
    """Whom a subscriber was put through to by an earlier dialer."""

    live: LiveLeg
    line: Line | None = None  # while they talk
    told: TransferReport | None = None  # once that is over


class Refused(Exception):
    """The placement was refused; the store has not changed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class WindowClosed(Exception):
    """It is too late, or too early, to dial; the store has not changed."""


class _TakenBack(Exception):
    """The leg was undone before its INVITE: its call waits again."""


class Attempts:
    """Makes attempts over one gateway under one epoch."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        routes: Routes,
        book: Book,
        watch: Watch,
        *,
        epoch: int,
        now: Callable[[], datetime],
        ears: Ears | None = None,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._routes = routes
        self._watch = watch
        self._epoch = epoch
        self._now = now
        self._ears = ears
        self._transfers = Transfers(db, gateway, routes, book, epoch=epoch, now=now)
        self._commits = Commits(db, epoch=epoch, now=now)

    async def make(self, plan: Plan, *, since: float, placed: Callable[[], None]) -> None:
        """One attempt of a leased call, on as many legs as it takes.

        Raises Refused, WindowClosed, NoRoute, NoCallerId, OwnNumber, Draining or Fenced. `since`: loop time at which
        the call was leased, for the meters. `placed` is called as soon as the call has its slot, so that the next one
        may be leased.
        Once a leg is placed, nothing but Fenced and cancellation leaves it unrecorded; both leave it to the next
        dialer's recovery.
        """
        route = await self._routes.slot(plan.call)
        placed()
        try:
            leg = await self._place(plan, route)
        except BaseException:
            self._routes.release(route)
            raise
        meters.setup.observe(asyncio.get_running_loop().time() - since)
        await self._carry(plan, leg.leg, route, self._dial(plan, leg))

    async def resume(
        self, plan: Plan, leg: LegId, line: Line, *, trunk_id: int, second: Second | None = None
    ) -> None:
        """Go on with a line that an earlier dialer left behind, and with its attempt.

        Its script begins anew; where its subscriber was put through, the conversation goes on.
        """
        talk = None if second is None else self._talk_on(plan, line, second)
        await self._carry(plan, leg, self._routes.adopt(trunk_id), self._attend(plan, leg, line, talk=talk))

    async def _carry(
        self, plan: Plan, leg: LegId, route: Route | None, served: Coroutine[None, None, _Served]
    ) -> None:
        """See an attempt through to its end, from its present leg on."""
        self._commits.up += 1
        try:
            await self._carry_on(plan, leg, route, served)
        finally:
            self._commits.up -= 1

    async def _carry_on(
        self, plan: Plan, leg: LegId, route: Route | None, served: Coroutine[None, None, _Served]
    ) -> None:
        tried: set[int] = set()
        while True:
            try:
                end, report = await served
                if report.result is not ScriptResult.none or not _goes_on(end):
                    # While the channel is ours: the store frees it with the record, and until then would refuse it.
                    await self.record(plan, leg, end, report, scarce=route is not None and route.full)
                    return
            except _TakenBack:
                return
            finally:
                # Before another trunk is waited for: two attempts must not wait for each other's channels.
                if route is not None:
                    self._routes.release(route)
                    tried.add(route.trunk.trunk_id)
            onward = await self._next_leg(plan, tried)
            await self.record(plan, leg, end, report, final=onward is None)
            if onward is None:
                return
            leg, route = onward.leg, onward.route
            served = self._dial(plan, onward)

    async def record(
        self,
        plan: Plan,
        leg: LegId,
        end: LineEnd,
        report: ScriptReport,
        *,
        final: bool = True,
        scarce: bool = False,
    ) -> None:
        """End the leg in the store, with its money; with `final`, its attempt and call too.

        `scarce`: its trunk has no other channel.
        """
        outcome = weighed(outcome_of(end, report), plan)
        seconds = (end.at - end.answered_at).total_seconds() if end.answered_at else 0.0
        # We hang up at max_call_time; what the network takes to notice is not the customer's to pay.
        billable = min(seconds, float(plan.max_call_time))
        after = None
        if final:
            after = await self._db.patiently(lambda: self._after(plan, leg, outcome), what="history")
        ended = LegEnd(
            account_id=plan.call.account_id,
            campaign_id=plan.call.campaign_id,
            leg_id=leg,
            outcome=outcome,
            ended_at=end.at,
            answered_at=end.answered_at,
            billed_seconds=plan.rate.billed_seconds(billable),
            cost=plan.rate.charge(billable),
            status_name=report.status_name,
            steps=report.steps,
            recording=self._gateway.recording(leg) if end.answered_at and plan.settings.record else None,
            facts=report.facts,
            next=after,
        )
        await self._commits.end(ended, scarce=scarce)
        if final:
            meters.attempts.labels(outcome.disposition, outcome.script_result).inc()
            await self._watch.heard(plan.campaign, leg.call_id, outcome)
        log.info(
            "attempt.ended" if final else "leg.ended",
            leg=str(leg),
            disposition=outcome.disposition,
            script_result=outcome.script_result,
            cause=outcome.hangup_cause,
            sip=outcome.sip_code,
            seconds=outcome.talk_seconds,
        )

    async def _after(self, plan: Plan, leg: LegId, outcome: Outcome) -> calls_core.Next:
        history: tuple[Outcome, ...] = ()
        if leg.attempt > 1:
            history = await legs.history(self._db, account_id=plan.call.account_id, leg=leg)
        return calls_core.after_attempt(
            outcome,
            policy=retry_policy(plan.settings),
            history=history,
            now=self._now(),
            removing=False,  # the statement itself honours a removal
            expires_at=plan.call.expires_at,
        )

    async def _place(self, plan: Plan, route: Route, *, next_leg: bool = False) -> _Placed:
        settings = plan.settings
        caller_id = route.caller_id(
            settings.caller_ids,
            but=plan.call.phone,
            ending=plan.overrides.code if plan.flashes else None,
        )
        wanted = Placement(
            account_id=plan.call.account_id,
            call_id=plan.call.call_id,
            campaign_id=plan.call.campaign_id,
            gateway=self._gateway.name,
            epoch=self._epoch,
            trunk_id=route.trunk.trunk_id,
            caller_id=caller_id,
            rate=plan.rate,
            hold=plan.rate.worst_case(plan.max_call_time),
            held_by_campaign=settings.max_cost is not None,
            guarded=guarded(settings),
            max_channels=settings.max_channels,
            calls_per_second=settings.calls_per_second,
            caps=settings.caps,
            next_leg=next_leg,
        )
        pauses = iter(_SOON)
        while True:
            # Asked anew each time: the wait for a slot or for the database may have been long.
            now = self._now()
            open_until = plan.hours.open_until(now)
            if open_until is None:
                raise WindowClosed()
            try:
                asked = structs.replace(wanted, open_until=open_until)
                leg, together = await self._commits.place(asked)
            except StoreUnavailable:
                # Whether it was committed nobody heard; a placing leg that nobody dials must not stay.
                await self._db.patiently(
                    lambda: legs.take_back_doubtful(
                        self._db,
                        account_id=wanted.account_id,
                        call_id=wanted.call_id,
                        epoch=self._epoch,
                        now=self._now(),
                    ),
                    what="doubtful placement",
                )
                raise
            if isinstance(leg, LegId):
                meters.legs_placed.labels(route.trunk.name).inc()
                return _Placed(route=route, leg=leg, caller_id=caller_id, together=together)
            meters.refusals.labels(leg).inc()
            # The guard's clock and the pacer's differ by moments; whoever lacks more than that asks for a new slot.
            pause = next(pauses, None) if leg in (Refusal.trunk_busy, Refusal.campaign_busy) else None
            if leg is Refusal.closed:
                raise WindowClosed()
            if pause is None:
                raise Refused(leg)
            await asyncio.sleep(pause)

    async def _next_leg(self, plan: Plan, tried: set[int]) -> _Placed | None:
        """Another trunk's leg for the same attempt, or None.

        It is placed before the failed one is recorded, so that a crash between the two never finds a call that
        no leg is dialling.
        """
        try:
            async with asyncio.timeout(_NEXT_LEG):
                route = await self._routes.slot(plan.call, tried=tried)
        except (NoRoute, TimeoutError):
            return None
        try:
            return await self._place(plan, route, next_leg=True)
        except (Refused, WindowClosed, StoreUnavailable, NoCallerId, OwnNumber):
            self._routes.release(route)
            return None
        except BaseException:
            self._routes.release(route)
            raise

    async def _dial(self, plan: Plan, placed: _Placed) -> _Served:
        leg = placed.leg
        wanted = Dialled(
            leg=leg,
            phone=plan.call.phone,
            trunk_id=placed.route.trunk.trunk_id,
            caller_id=placed.caller_id,
            ring_timeout=plan.settings.ring_timeout,
            max_seconds=plan.settings.ring_timeout + plan.max_call_time + MARGIN,
        )
        try:
            line = await self._create(wanted)
        except GatewayRefused as exc:
            log.warning("leg.refused", leg=str(leg), reason=exc.detail)
            return LineEnd(at=self._now()), ScriptReport(result=ScriptResult.none)
        except TimeoutError:
            return await self._take_back(plan, leg)
        marked = await self._mark_dialled(plan, placed)
        if marked is None or (not marked and not plan.hours.is_open(self._now())):
            return await self._take_back(plan, leg)
        if not marked:
            await self._gateway.discard(leg)
            raise Fenced()
        return await self._attend(plan, leg, line, ring_timeout=plan.settings.ring_timeout)

    async def _mark_dialled(self, plan: Plan, placed: _Placed) -> bool | None:
        now = self._now()
        marked = Marked(plan.call.account_id, placed.leg, plan.hours.open_until(now) or now)
        return await self._commits.mark_dialled(marked, placed.together)

    async def _take_back(self, plan: Plan, leg: LegId) -> _Served:
        """Undo a leg that could not be dialled in time: by now it may be too late for its call, or forbidden."""
        log.warning("leg.taken_back", leg=str(leg))
        await self._gateway.discard(leg)
        undone = await self._db.patiently(
            lambda: legs.take_back(
                self._db,
                account_id=plan.call.account_id,
                leg=leg,
                now=self._now(),
            ),
            what="take_back",
        )
        if undone:
            raise _TakenBack()
        # It had been committed as dialled, and only the answer was lost. No INVITE was sent all the same.
        return LineEnd(at=self._now()), ScriptReport(result=ScriptResult.none)

    async def _create(self, wanted: Dialled) -> Line:
        """Create a channel, however often the gateway goes away meanwhile: nothing is sent by it.

        Raises TimeoutError.
        """
        until = asyncio.get_running_loop().time() + _WITHOUT_GATEWAY
        try:
            return await self._gateway.create(wanted)
        except (AlreadyExists, GatewayLost, GatewayInDoubt):
            async with asyncio.timeout_at(until):
                return await self._create_again(wanted)

    async def _create_again(self, wanted: Dialled) -> Line:
        while True:
            try:
                line = await self._gateway.adopt(wanted.leg)
                return line if line is not None else await self._gateway.create(wanted)
            except AlreadyExists:
                pass
            except (GatewayLost, GatewayInDoubt):
                await asyncio.sleep(0.2)

    async def _attend(
        self,
        plan: Plan,
        leg: LegId,
        line: Line,
        *,
        ring_timeout: int | None = None,
        talk: Coroutine[None, None, ScriptReport] | None = None,
    ) -> _Served:
        """Be with a line to its end; dial it first if there is a ring timeout. `talk`: instead of its script."""
        report = ScriptReport(result=ScriptResult.none)
        try:
            if ring_timeout is not None:
                begun = self._now()
                await self._gateway.dial(line, ring_timeout=ring_timeout)
                if plan.flashes:
                    return await self._flash(plan, leg, line)
                meters.answer.observe(max(0.0, (await line.answered() - begun).total_seconds()))
            elif plan.flashes:
                return await self._flash(plan, leg, line)
            report = await (talk or self._talk(plan, leg, line))
        except HungUp:
            pass  # not answered; the end says why
        except GatewayRefused as exc:
            log.warning("leg.refused", leg=str(leg), reason=exc.detail)
            await line.hang_up()
        except (GatewayLost, GatewayInDoubt):
            await self._gateway.discard(leg)
            return await self._fate(leg), report
        except Exception as exc:
            # Whatever it is: nobody is left on a line that no script serves, and no leg without its end.
            log.error("leg.failed", leg=str(leg), error=type(exc).__name__, exc_info=exc)
            await line.hang_up()
            report = ScriptReport(result=ScriptResult.error)
        return await line.end(), report

    async def _flash(self, plan: Plan, leg: LegId, line: Line) -> _Served:
        """Let it ring for a moment and cancel. Whoever answers all the same is hung up: he has seen the code."""
        await line.ringing()
        answered = asyncio.ensure_future(line.answered())
        try:
            await asyncio.wait({answered}, timeout=plan.settings.flash.rings)
            end = await line.hang_up()
            if end.answered_at is not None:
                at = end.answered_at
                await self._commits.answered(Answered(account_id=plan.call.account_id, leg=leg, at=at))
        finally:
            answered.cancel()
            await asyncio.wait({answered})
        # What the callee or the network ended by themselves rang as well, unless it was refused.
        rang = end.by_us or end.answered_at is not None
        return end, ScriptReport(result=ScriptResult.completed if rang else ScriptResult.none)

    async def _talk(self, plan: Plan, leg: LegId, line: Line) -> ScriptReport:
        answered_at = await line.answered()
        gone_by = (self._now() - answered_at).total_seconds()
        # Beside the prompt, which waits for no disk.
        told = self._commits.answered(Answered(account_id=plan.call.account_id, leg=leg, at=answered_at))
        told.add_done_callback(_looked_at)
        if not plan.script.nodes:
            # Its prompts cannot be had any more: better a hang-up than a silence that is paid for.
            await line.hang_up()
            await told
            return ScriptReport(result=ScriptResult.error)
        async with asyncio.TaskGroup() as group:
            report = await run(
                line,
                plan.script,
                clips=plan.clips,
                max_seconds=max(0.5, plan.max_call_time - gone_by),
                record=plan.settings.record,
                board=self._board(plan, leg, line, group),
            )
        await told
        return report

    async def _talk_on(self, plan: Plan, line: Line, second: Second) -> ScriptReport:
        """What is left of a call whose subscriber was put through by another dialer, which knew the rest."""
        told = second.told
        if told is None:
            assert second.line is not None
            told = await self._transfers.resume(plan, line, second.line, second.live)
        await line.hang_up()
        return put_through(plan.script, told)

    def _board(self, plan: Plan, leg: LegId, line: Line, group: asyncio.TaskGroup) -> Switchboard:
        """What the script may use beside its line."""

        def tell(number: int, node: str, choice: str | None, reaction: Reaction) -> None:
            triggered = Triggered(
                account_id=plan.call.account_id,
                campaign_id=plan.call.campaign_id,
                call_id=leg.call_id,
                attempt=leg.attempt,
                number=number,
                phone=plan.call.phone,
                own_phone=None,
                node=node,
                choice=choice,
                at=self._now(),
                reaction=reaction,
            )
            # Beside the next prompt, which waits for no disk.
            group.create_task(
                self._db.patiently(lambda: reactions.trigger(self._db, triggered), what="reaction")
            )

        async def transfer(to: Transfer, began: float, left: float) -> TransferReport:
            return await self._transfers.connect(plan, line, to, began, left)

        return Switchboard(
            tell=tell,
            transfer=transfer,
            ears=self._ears,
            machine=plan.settings.machine if plan.campaign.type is CampaignType.regular else None,
            language=plan.language,
        )

    async def _fate(self, leg: LegId) -> LineEnd:
        """What became of a leg whose gateway is gone: its records, or nothing."""
        known = await asyncio.to_thread(self._gateway.past, [leg])
        return known.get(leg) or LineEnd(at=self._now(), vanished=True)


def _goes_on(end: LineEnd) -> bool:
    """Whether this end of a leg is one after which another trunk may do better."""
    return end.answered_at is None and not end.vanished and goes_to_next_leg(unanswered(end))


def _looked_at(told: "asyncio.Future[None]") -> None:
    """So that nobody complains of an error that nobody waited for."""
    if not told.cancelled():
        told.exception()
