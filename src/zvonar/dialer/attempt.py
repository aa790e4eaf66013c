"""How is one leased call dialled at most once, and its result recorded whatever happens?

(1) the leg is committed as `placing`, with its hold; (2) its channel is created, which sends nothing; (3) it is
committed as `dialled`; (4) it is dialled, once. On doubt the channel is asked, the request never repeated.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

import structlog
from msgspec import Struct, structs

from zvonar.core import call as calls_core
from zvonar.core.campaign import CallOverrides, CampaignSettings, LostPolicy
from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.result import Disposition, Outcome, ScriptResult, disposition_of, goes_to_next_leg
from zvonar.core.retry import RetryPolicy, RetryRule
from zvonar.core.script import Prompt, Script, ScriptReport
from zvonar.dialer import meters
from zvonar.dialer.routes import Route, Routes
from zvonar.dialer.run import run
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
from zvonar.store import legs
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.epochs import Fenced
from zvonar.store.legs import LegEnd, Placement, Refusal

log = structlog.get_logger(__name__)

_MARGIN = 15  # seconds that the gateway's own bound lies beyond ours
_NEXT_LEG = 10.0  # seconds that a failed leg waits for a slot of another trunk
_BUSY = 0.05  # seconds until a placement is tried again that only lacked a slot


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is known of a call before it is dialled."""

    call: Leased
    campaign: Campaign
    overrides: CallOverrides
    script: Script
    clips: Mapping[Prompt, Path]
    rate: Rate

    @property
    def settings(self) -> CampaignSettings:
        return self.campaign.settings

    @property
    def max_call_time(self) -> int:
        return self.overrides.max_call_time or self.settings.max_call_time


class _Placed(Struct, frozen=True, kw_only=True):
    """A leg that is committed as placing."""

    route: Route
    leg: LegId
    caller_id: str | None


class Refused(Exception):
    """The placement was refused; the store has not changed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Attempts:
    """Makes attempts over one gateway under one epoch."""

    def __init__(
        self, db: Database, gateway: Gateway, routes: Routes, *, epoch: int, now: Callable[[], datetime]
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._routes = routes
        self._epoch = epoch
        self._now = now

    async def make(self, plan: Plan, *, since: float, placed: Callable[[], None]) -> None:
        """One attempt of a leased call, on as many legs as it takes. Raises Refused, NoRoute or Fenced.

        `since`: loop time at which the call was leased, for the meters. `placed` is called as soon as the call
        has its slot, so that the next one may be leased. Once a leg is placed, nothing but
        Fenced and cancellation leaves it unrecorded; both leave it to the next dialer's recovery.
        """
        route = await self._routes.slot(plan.call)
        placed()
        try:
            leg = await self._place(plan, route)
        except BaseException:
            self._routes.release(route)
            raise
        meters.setup.observe(asyncio.get_running_loop().time() - since)
        tried: set[int] = set()
        while True:
            try:
                end, report = await self._dial(plan, leg)
            finally:
                self._routes.release(leg.route)
            tried.add(leg.route.trunk.trunk_id)
            onward = await self._next_leg(plan, end, tried)
            await self.record(plan, leg.leg, end, report, final=onward is None)
            if onward is None:
                return
            leg = onward

    async def resume(self, plan: Plan, line: Line) -> None:
        """Go on with a line that an earlier dialer left behind."""
        report = ScriptReport(result=ScriptResult.none)
        with contextlib.suppress(HungUp):  # not answered: the end says why
            report = await self._talk(plan, line)
        await self.record(plan, line.leg, await line.end(), report)

    async def record(
        self, plan: Plan, leg: LegId, end: LineEnd, report: ScriptReport, *, final: bool = True
    ) -> None:
        """End the leg in the store, with its money; with `final`, its attempt and call too."""
        outcome = outcome_of(end, report)
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
            guarded=guarded(plan.settings),
            status_name=report.status_name,
            steps=report.steps,
            recording=self._gateway.recording(leg) if end.answered_at and plan.settings.record else None,
            next=after,
        )
        await self._db.patiently(lambda: legs.end(self._db, ended, now=self._now()), what="record")
        if final:
            meters.attempts.labels(outcome.disposition, outcome.script_result).inc()
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
        caller_id = route.caller_id(settings.caller_ids)
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
            next_leg=next_leg,
        )
        while True:
            try:
                leg = await legs.place(self._db, wanted, now=self._now())
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
                return _Placed(route=route, leg=leg, caller_id=caller_id)
            meters.refusals.labels(leg).inc()
            if leg is not Refusal.trunk_busy or next_leg:
                raise Refused(leg)
            await asyncio.sleep(_BUSY)

    async def _next_leg(self, plan: Plan, end: LineEnd, tried: set[int]) -> _Placed | None:
        """Another trunk's leg for the same attempt, or None.

        It is placed before the failed one is recorded, so that a crash between the two never finds a call that
        no leg is dialling.
        """
        if end.answered_at is not None or end.vanished or not goes_to_next_leg(_unanswered(end)):
            return None
        if not self._routes.choices(plan.call, tried=tried):
            return None
        try:
            async with asyncio.timeout(_NEXT_LEG):
                route = await self._routes.slot(plan.call, tried=tried)
        except TimeoutError:
            return None
        try:
            return await self._place(plan, route, next_leg=True)
        except (Refused, StoreUnavailable):
            self._routes.release(route)
            return None
        except BaseException:
            self._routes.release(route)
            raise

    async def _dial(self, plan: Plan, placed: _Placed) -> tuple[LineEnd, ScriptReport]:
        leg = placed.leg
        wanted = Dialled(
            leg=leg,
            phone=plan.call.phone,
            trunk_id=placed.route.trunk.trunk_id,
            caller_id=placed.caller_id,
            ring_timeout=plan.settings.ring_timeout,
            max_seconds=plan.settings.ring_timeout + plan.max_call_time + _MARGIN,
        )
        report = ScriptReport(result=ScriptResult.none)
        try:
            line = await self._create(wanted)
        except GatewayRefused as exc:
            log.warning("leg.refused", leg=str(leg), reason=exc.detail)
            return LineEnd(at=self._now()), report
        marked = await self._db.patiently(
            lambda: legs.mark_dialled(
                self._db, account_id=plan.call.account_id, leg=leg, epoch=self._epoch, now=self._now()
            ),
            what="dialled",
        )
        if not marked:
            await self._gateway.discard(leg)
            raise Fenced()
        try:
            await self._gateway.dial(line, ring_timeout=plan.settings.ring_timeout)
            report = await self._talk(plan, line)
        except HungUp:
            pass  # not answered; the end says why
        except GatewayRefused as exc:
            log.warning("leg.refused", leg=str(leg), reason=exc.detail)
            await line.hang_up()
        except (GatewayLost, GatewayInDoubt):
            return await self._fate(leg), report
        return await line.end(), report

    async def _create(self, wanted: Dialled) -> Line:
        """Create a channel, however often the gateway goes away meanwhile: nothing is sent by it."""
        while True:
            try:
                return await self._gateway.create(wanted)
            except AlreadyExists:
                line = await self._gateway.adopt(wanted.leg)
                if line is not None:
                    return line
            except (GatewayLost, GatewayInDoubt):
                await asyncio.sleep(0.2)

    async def _talk(self, plan: Plan, line: Line) -> ScriptReport:
        answered_at = await line.answered()
        gone_by = (self._now() - answered_at).total_seconds()
        marking = asyncio.create_task(
            self._db.patiently(
                lambda: legs.mark_answered(
                    self._db, account_id=plan.call.account_id, leg=line.leg, at=answered_at
                ),
                what="answered",
            )
        )
        try:
            if not plan.script.nodes:
                # Its prompts cannot be had any more: better a hang-up than a silence that is paid for.
                await line.hang_up()
                return ScriptReport(result=ScriptResult.error)
            return await run(
                line,
                plan.script,
                clips=plan.clips,
                max_seconds=max(0.5, plan.max_call_time - gone_by),
                record=plan.settings.record,
            )
        finally:
            await marking

    async def _fate(self, leg: LegId) -> LineEnd:
        """What became of a leg whose gateway is gone: its records, or nothing."""
        known = await asyncio.to_thread(self._gateway.past, [leg])
        return known.get(leg) or LineEnd(at=self._now(), vanished=True)


def outcome_of(end: LineEnd, report: ScriptReport) -> Outcome:
    """The triple's first two facts, from what the line and the script say."""
    if end.answered_at is not None:
        disposition = Disposition.answered
        # Answered and ended before any script saw it: the controller was away, or the callee was quicker.
        script = report.result
        if script is ScriptResult.none:
            script = ScriptResult.hung_up if not end.vanished else ScriptResult.error
        talk = max(1, ceil((end.at - end.answered_at).total_seconds()))
    else:
        disposition, script, talk = _unanswered(end), ScriptResult.none, 0
    return Outcome(
        disposition=disposition,
        script_result=script,
        hangup_cause=end.hangup_cause or None,
        sip_code=end.sip_code,
        talk_seconds=talk,
        choice=report.choice,
    )


def _unanswered(end: LineEnd) -> Disposition:
    if end.vanished:
        return Disposition.lost
    return disposition_of(sip_code=end.sip_code, hangup_cause=end.hangup_cause, rang_out=end.rang_out)


def guarded(settings: CampaignSettings) -> bool:
    """Whether the campaign has limits of its own, kept by its guard row."""
    return bool(settings.max_channels or settings.calls_per_second or settings.max_cost is not None)


def retry_policy(settings: CampaignSettings) -> RetryPolicy:
    """The campaign's retry policy, with its word on lost legs."""
    policy = settings.retry
    if settings.lost is LostPolicy.redial:
        rules = {**policy.rules, Disposition.lost: RetryRule(interval=0)}
        return structs.replace(policy, rules=rules, max_attempts=max(policy.max_attempts, 2))
    return policy


def soon(now: datetime, seconds: float) -> datetime:
    """A moment from now."""
    return now + timedelta(seconds=seconds)
