"""What becomes of a call that comes in? It confirms a call that waits for it, is greeted, or is rejected.

A call is recognised by its caller's number, in whatever form the carrier writes it, and where the waiting call brought
a code by that. One that nothing waits for belongs to whoever has its number: a session without campaign or attempt,
and an outbox event `inbound` (core.inbound.Received) that says whether the caller has called a number back that we had
shown.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from math import ceil

import msgspec
import structlog
from msgspec import Struct, structs

from zvonar.core import pool as pools
from zvonar.core.call import CallState, Next, after_attempt
from zvonar.core.campaign import CallOverrides, Voice, script_of_type
from zvonar.core.facts import CallFacts
from zvonar.core.inbound import Received, forms
from zvonar.core.leg import InboundLeg
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.core.script import Script, ScriptReport, plain
from zvonar.dialer import meters
from zvonar.dialer.book import Book
from zvonar.dialer.plan import outcome_of, retry_policy
from zvonar.dialer.prompts import Prompts
from zvonar.dialer.run import run
from zvonar.line.line import Arrival, Gateway, GatewayInDoubt, GatewayLost, GatewayRefused, HungUp, LineEnd
from zvonar.speech import SpeechFailed
from zvonar.store import dids, inbound, legs, recalls, trunks
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.dids import Did
from zvonar.store.inbound import LiveInbound, Shown
from zvonar.store.legs import LegEnd

log = structlog.get_logger(__name__)

MOST = 200  # calls that come in at once; more are told that we are busy
_DECIDED = 5.0  # seconds until whoever calls is told something
_LONGEST = 600  # seconds of such a call

# Q.850, as the carrier tells the caller.
_UNKNOWN = 1  # no such number
_BUSY = 17
_REJECTED = 21
_TRY_AGAIN = 41


class _Known(Struct, frozen=True, kw_only=True):
    """Whose call it is."""

    account_id: int
    own_phone: str  # E.164, that was called
    phone: str | None  # E.164 of the caller
    did: Did | None
    shown: Shown | None
    waiting: tuple[Leased, Campaign] | None  # the call that it confirms


class Reception:
    """Receives calls of one gateway under one epoch."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        book: Book,
        prompts: Prompts,
        *,
        epoch: int,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._book = book
        self._prompts = prompts
        self._epoch = epoch
        self._now = now
        self.up = 0

    async def receive(self, arrival: Arrival) -> None:
        """See one call through to its end; whatever goes wrong, nobody is left on the line."""
        self.up += 1
        try:
            await self._receive(arrival)
        except (GatewayLost, GatewayInDoubt):
            # Its end is in the gateway's records, where the next dialer finds it.
            log.warning("inbound.gateway_lost")
        except Exception as exc:
            log.error("inbound.failed", error=type(exc).__name__, exc_info=exc)
            await arrival.line.hang_up(cause=_TRY_AGAIN)
        finally:
            self.up -= 1

    async def _receive(self, arrival: Arrival) -> None:
        if self.up > MOST:
            meters.inbound.labels("too_many").inc()
            await arrival.line.hang_up(cause=_BUSY)
            return
        try:
            async with asyncio.timeout(_DECIDED):
                known = await self._recognised(arrival)
        except (TimeoutError, StoreUnavailable):
            meters.inbound.labels("undecided").inc()
            await arrival.line.hang_up(cause=_TRY_AGAIN)
            return
        if known is None:
            meters.inbound.labels("unknown").inc()
            await arrival.line.hang_up(cause=_UNKNOWN)
        elif known.waiting is not None and await self._confirm(arrival, known, *known.waiting):
            meters.inbound.labels("confirmed").inc()
        else:
            meters.inbound.labels("greeted").inc()
            await self._greet(arrival, known)

    # Who is it, and for whom?

    async def _recognised(self, arrival: Arrival) -> _Known | None:
        countries, trial = self._book.countries, await trunks.has_trial(self._db)
        called = forms(arrival.called, countries, trial=trial)
        callers = forms(arrival.caller, countries, trial=trial)
        if not called:
            return None
        now = self._now()
        owners = await dids.called(self._db, called)
        shown = await inbound.shown(self._db, callers, called, now=now) if callers else None
        waiting = await self._waiting(callers, called, owners, now) if callers else None
        did = owners[0] if owners else None
        if waiting is not None:
            account_id = waiting[0].account_id
        elif did is not None:
            account_id = did.account_id
        elif shown is not None:
            account_id = shown.account_id
        else:
            return None
        # A number of one account says nothing of the calls of another.
        if shown is not None and shown.account_id != account_id:
            shown = None
        return _Known(
            account_id=account_id,
            own_phone=did.phone if did is not None else called[0],
            phone=callers[0] if callers else None,
            did=did,
            shown=shown,
            waiting=waiting,
        )

    async def _waiting(
        self, callers: list[str], called: list[str], owners: list[Did], now: datetime
    ) -> tuple[Leased, Campaign] | None:
        campaigns = self._book.incoming
        if not campaigns:
            return None
        pairs = [(campaign.account_id, campaign.campaign_id) for campaign in campaigns.values()]
        for call in await inbound.awaited(self._db, pairs, callers, now=now):
            campaign = campaigns[call.campaign_id]
            if await self._allowed(campaign, call, called, owners):
                return call, campaign
        return None

    async def _allowed(
        self, campaign: Campaign, call: Leased, called: Iterable[str], owners: list[Did]
    ) -> bool:
        """Whether this campaign's subscribers may call this number."""
        settings = campaign.settings
        if settings.incoming_numbers:
            return any(number in settings.incoming_numbers for number in called)
        if any(did.account_id == campaign.account_id for did in owners):
            return True
        pool = list(settings.caller_ids) or await trunks.caller_ids(
            self._db, campaign.account_id, trial=call.trial
        )
        return any(pools.holds(pool, number) for number in called)

    # A call that was waited for.

    async def _confirm(self, arrival: Arrival, known: _Known, call: Leased, campaign: Campaign) -> bool:
        """Whether the waiting call was there to be had; then it is over when this returns."""
        leg = arrival.line.leg
        assert isinstance(leg, InboundLeg)
        overrides = msgspec.convert(call.overrides or {}, CallOverrides)
        script = script_of_type(campaign.type, campaign.settings, overrides)
        assert script is not None
        attempt = await inbound.receive(
            self._db,
            call,
            leg,
            gateway=self._gateway.name,
            epoch=self._epoch,
            trunk_id=arrival.trunk_id,
            own_phone=known.own_phone,
            now=self._now(),
        )
        if attempt is None:
            return False
        report = ScriptReport(result=ScriptResult.pin_ok)
        try:
            if overrides.code or campaign.settings.incoming.answer:
                voice = overrides.voice or campaign.settings.voice
                record = campaign.settings.record
                report = await self._speak(arrival, call.account_id, voice, script, record=record)
                if not overrides.code and report.result is not ScriptResult.error:
                    # Having called is what confirms.
                    report = structs.replace(report, result=ScriptResult.pin_ok)
            else:
                await arrival.line.hang_up(cause=_REJECTED)
            end = await arrival.line.end()
        except (GatewayLost, GatewayInDoubt):
            await self._gateway.discard(leg)
            ended = arrival.line.ended
            end = ended or LineEnd(at=self._now())
        await self._record(call, campaign, leg, attempt, end, report)
        return True

    async def _record(
        self,
        call: Leased,
        campaign: Campaign,
        leg: InboundLeg,
        attempt: int,
        end: LineEnd,
        report: ScriptReport,
    ) -> None:
        outcome = outcome_of(end, report)
        # Reached, whether or not we picked up.
        outcome = Outcome(
            disposition=Disposition.answered,
            script_result=report.result if report.result is not ScriptResult.none else ScriptResult.hung_up,
            hangup_cause=outcome.hangup_cause,
            talk_seconds=outcome.talk_seconds,
            verifies=True,
        )
        now = self._now()
        after = after_attempt(
            outcome,
            policy=retry_policy(campaign.settings),
            history=(),
            now=now,
            removing=False,
            expires_at=call.expires_at,
        )
        if report.result in (ScriptResult.hung_up, ScriptResult.no_input, ScriptResult.error):
            # He has not tried yet, and may call again until the call expires.
            after = Next(state=CallState.waiting, due_at=now)
        facts = report.facts or CallFacts()
        ended = LegEnd(
            account_id=call.account_id,
            campaign_id=call.campaign_id,
            leg_id=leg,
            outcome=outcome,
            ended_at=end.at,
            answered_at=end.answered_at,
            steps=report.steps,
            recording=self._gateway.recording(leg) if campaign.settings.record and end.answered_at else None,
            facts=structs.replace(facts, direction="in"),
            next=after,
        )
        await self._db.patiently(lambda: legs.end(self._db, ended, now=self._now()), what="record")
        meters.attempts.labels(outcome.disposition, outcome.script_result).inc()
        log.info("inbound.confirmed", call=call.call_id, attempt=attempt, script_result=outcome.script_result)

    async def _speak(
        self, arrival: Arrival, account_id: int, voice: Voice, script: Script, *, record: bool
    ) -> ScriptReport:
        """Pick up and run a script. A caller who hears nothing is not picked up for."""
        line = arrival.line
        try:
            clips = await self._prompts.files(account_id, voice, script.prompts())
        except SpeechFailed as exc:
            log.warning("inbound.no_prompt", error=type(exc).__name__)
            await line.hang_up(cause=_TRY_AGAIN)
            return ScriptReport(result=ScriptResult.error)
        try:
            await line.answer()
        except HungUp:
            return ScriptReport(result=ScriptResult.hung_up)
        except GatewayRefused as exc:
            log.warning("inbound.refused", reason=exc.detail)
            await line.hang_up()
            return ScriptReport(result=ScriptResult.error)
        return await run(line, script, clips=clips, max_seconds=_LONGEST, record=record)

    # A call that was not.

    async def _greet(self, arrival: Arrival, known: _Known) -> None:
        leg = arrival.line.leg
        assert isinstance(leg, InboundLeg)
        began_at = self._now()
        await inbound.begin(
            self._db,
            known.account_id,
            leg,
            gateway=self._gateway.name,
            epoch=self._epoch,
            trunk_id=arrival.trunk_id,
            own_phone=known.own_phone,
            contact=known.phone,
            now=began_at,
        )
        report = ScriptReport(result=ScriptResult.none)
        greeting = known.did.greeting if known.did is not None else None
        if greeting is not None:
            script = plain(greeting.prompt)
            report = await self._speak(arrival, known.account_id, greeting.voice, script, record=False)
        else:
            await arrival.line.hang_up(cause=_REJECTED)
        end = await arrival.line.end()
        answered = end.answered_at is not None
        received = Received(
            account_id=known.account_id,
            phone=known.phone,
            own_phone=known.own_phone,
            began_at=began_at,
            answered_at=end.answered_at,
            ended_at=max(end.at, end.answered_at or began_at),
            disposition=Disposition.answered if answered else Disposition.declined,
            script_result=report.result if answered else ScriptResult.none,
            **({} if known.shown is None else _shown(known.shown)),
        )
        await self._end(leg, received, hangup_cause=end.hangup_cause)
        await self._called_back(known.shown)

    async def _called_back(self, shown: Shown | None) -> None:
        """Whoever was not reached has called back, if it was that."""
        if shown is not None:
            await self._db.patiently(
                lambda: recalls.recall(self._db, shown.account_id, shown.call_id, now=self._now()),
                what="recall",
            )

    async def _end(self, leg: InboundLeg, received: Received, *, hangup_cause: int | None) -> None:
        country = None if received.phone is None else self._book.country_of(received.account_id)
        await self._db.patiently(
            lambda: inbound.end(
                self._db,
                leg,
                received,
                country=country,
                hangup_cause=hangup_cause or None,
                facts=CallFacts(direction="in"),
                now=self._now(),
            ),
            what="inbound",
        )
        log.info("inbound.ended", leg=str(leg), disposition=received.disposition)

    # What an earlier dialer left behind.

    async def recover(self, found: LiveInbound) -> None:
        """End a call that came in under an earlier dialer: whoever received it is gone."""
        leg = InboundLeg(found.leg_id)
        await self._gateway.discard(leg)
        now = self._now()
        known = (await asyncio.to_thread(self._gateway.past, [leg])).get(leg)
        answered_at = (known and known.answered_at) or found.answered_at
        ended_at = known.at if known is not None else now
        if found.call_id is None:
            shown = await self._shown_before(found)
            received = Received(
                account_id=found.account_id,
                phone=found.contact,
                own_phone=found.caller_id or "",
                began_at=found.placed_at,
                answered_at=answered_at,
                ended_at=max(ended_at, found.placed_at),
                disposition=Disposition.answered if answered_at else Disposition.lost,
                script_result=ScriptResult.error if answered_at else ScriptResult.none,
                **({} if shown is None else _shown(shown)),
            )
            await self._end(leg, received, hangup_cause=None)
            await self._called_back(shown)
            return
        assert found.campaign_id is not None
        ended_at = max(ended_at, found.placed_at)
        outcome, after = Outcome(disposition=Disposition.lost), Next(state=CallState.waiting, due_at=now)
        if found.confirms:
            # Having called is what confirms, whoever died then.
            outcome = Outcome(
                disposition=Disposition.answered,
                script_result=ScriptResult.pin_ok,
                talk_seconds=max(1, ceil((ended_at - answered_at).total_seconds())) if answered_at else 0,
                verifies=True,
            )
            after = Next(state=CallState.finished, call_end=CallEnd.success)
        ended = LegEnd(
            account_id=found.account_id,
            campaign_id=found.campaign_id,
            leg_id=leg,
            outcome=outcome,
            ended_at=ended_at,
            answered_at=answered_at,
            facts=CallFacts(direction="in"),
            # Without the right digits its subscriber may call again.
            next=after,
        )
        await self._db.patiently(lambda: legs.end(self._db, ended, now=now), what="record")

    async def _shown_before(self, found: LiveInbound) -> Shown | None:
        """The attempt that he has called back, if it was one of the account's."""
        if found.contact is None or found.caller_id is None:
            return None
        shown = await inbound.shown(self._db, [found.contact], [found.caller_id], now=found.placed_at)
        return shown if shown is not None and shown.account_id == found.account_id else None


def _shown(shown: Shown) -> dict[str, int]:
    return {"campaign_id": shown.campaign_id, "call_id": shown.call_id, "attempt": shown.attempt}
