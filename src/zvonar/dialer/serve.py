"""What becomes of one leased call? It is dialled, given back, or recorded as what keeps it from being dialled."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from zvonar.core import phone as phones
from zvonar.core.call import CallState, Next, after_attempt
from zvonar.core.campaign import CallOverrides, CampaignType, NoMoneyPolicy, Reason, script_of_type
from zvonar.core.errors import DestinationRefused, NoTariff, ZvonarError
from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.core.phone import Phone
from zvonar.core.result import CallEnd, Cause, Disposition, Outcome, ScriptResult
from zvonar.core.script import Prompt, Script, plain
from zvonar.dialer import meters
from zvonar.dialer.attempt import Attempts, Refused, WindowClosed
from zvonar.dialer.book import Book
from zvonar.dialer.plan import Plan, retry_policy, soon
from zvonar.dialer.prompts import Prompts
from zvonar.dialer.routes import Draining, NoCallerId, NoRoute, OwnNumber
from zvonar.dialer.watch import Watch
from zvonar.speech import SpeechFailed
from zvonar.store import calls, campaigns, caps, legs, steering
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign, NotAllowedNow
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.epochs import Fenced
from zvonar.store.legs import LiveLeg, Refusal

log = structlog.get_logger(__name__)

_AGAIN = 0.2  # seconds until a call is looked at again that only lacked a slot
_MONEY_SOON = 5.0  # seconds until a call without money is looked at again, while other calls hold some
_CAPPED = 3600.0  # seconds until a callee who was called too often is looked at again
_SHORTEST = 0.25  # seconds of a first prompt that somebody can hear
_KEPT = 1000  # campaigns whose scripts are kept
_SILENT = Script(nodes={})


class ClipTooShort(SpeechFailed):
    """Nobody could hear a prompt as short as this."""


class CallTooShort(ZvonarError):
    """The call may not last as long as its first prompt."""


class Duplicate(ZvonarError):
    """Another call of the campaign has this number already."""


class _Spoken(Struct, frozen=True):
    """What calls of a campaign say, as long as the book has it like that."""

    campaign: Campaign
    clip_id: int | None  # of the call, where its campaign says nothing
    script: Script
    clips: Mapping[Prompt, Path]


class Server:
    """Serves leased calls under one epoch."""

    def __init__(
        self,
        db: Database,
        book: Book,
        attempts: Attempts,
        prompts: Prompts,
        watch: Watch,
        *,
        epoch: int,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._book = book
        self._attempts = attempts
        self._prompts = prompts
        self._watch = watch
        self._epoch = epoch
        self._now = now
        self._scripts: dict[int, _Spoken] = {}  # by campaign

    async def serve(self, call: Leased, *, placed: Callable[[], None]) -> None:
        """Everything that one leased call needs, until it is recorded or given back. Raises Fenced.

        `placed`: called once the call waits for a slot no longer.
        """
        try:
            await self._try(call, placed)
        except StoreUnavailable:
            # Nothing was placed; the lease is freed when the store is back.
            await self._give_back(call, self._now())
        finally:
            placed()

    async def plan_of_leg(self, call: Leased, live: LiveLeg) -> Plan | None:
        """The plan of a leg that is up already. A prompt that cannot be had now must not keep it from its end."""
        campaign = await campaigns.get(self._db, call.account_id, call.campaign_id)
        try:
            return await self._plan(call, campaign)
        except (SpeechFailed, NoTariff, DestinationRefused):
            await self._book.payer(call.account_id)
            return Plan(
                call=call,
                campaign=campaign,
                overrides=msgspec.convert(call.overrides or {}, CallOverrides),
                script=_SILENT,
                clips={},
                rate=msgspec.convert(live.rate, Rate, strict=False),
                hours=self._book.hours(campaign, call, self._now()),
            )

    async def _try(self, call: Leased, placed: Callable[[], None]) -> None:
        since = asyncio.get_running_loop().time()
        campaign = self._book.campaigns.get(call.campaign_id)
        if campaign is None:
            await self._give_back(call, self._now())
            return
        now = self._now()
        if not self._book.hours(campaign, call, now).is_open(now):
            await self._outside_window(call, campaign, now)
            return
        try:
            plan = await self._plan(call, campaign)
            if campaign.settings.unique_phones and await calls.has_twin(self._db, call):
                raise Duplicate()
            await self._in_turn(campaign)
            await self._attempts.make(plan, since=since, placed=placed)
        except (Fenced, StoreUnavailable):
            raise
        except WindowClosed:
            await self._outside_window(call, campaign, self._now())
        except Draining:
            await self._give_back(call, self._now())
        except ClipTooShort:
            await self._fail(call, campaign, Disposition.synth_failed, Cause.clip_too_short)
        except SpeechFailed as exc:
            log.warning("call.no_prompt", call=call.call_id, error=type(exc).__name__)
            await self._fail(call, campaign, Disposition.synth_failed)
        except CallTooShort:
            await self._fail(call, campaign, Disposition.failed, Cause.call_too_short)
        except Duplicate:
            await self._fail(call, campaign, Disposition.blocked, Cause.duplicate)
        except NoRoute:
            await self._fail(call, campaign, Disposition.no_route)
        except NoCallerId:
            await self._fail(call, campaign, Disposition.no_route, Cause.no_caller_id)
        except OwnNumber:
            await self._fail(call, campaign, Disposition.blocked, Cause.own_number)
        except NoTariff:
            await self._fail(call, campaign, Disposition.no_route, Cause.no_tariff)
        except DestinationRefused:
            await self._fail(call, campaign, Disposition.blocked, Cause.destination)
        except Refused as exc:
            await self._refused(call, campaign, exc.refusal)
        except Exception as exc:
            # A call that nobody can serve must not be leased for ever. One that was placed is not touched by this.
            log.error("call.failed", call=call.call_id, error=type(exc).__name__, exc_info=exc)
            await self._fail(call, campaign, Disposition.failed, Cause.internal)

    async def _in_turn(self, campaign: Campaign) -> None:
        """Wait for the campaign's own pace, first come first served."""
        pacer = self._book.pace(campaign)
        if pacer is not None:
            now = asyncio.get_running_loop().time()
            turn = max(now, pacer.slot)
            pacer.take(turn)
            await asyncio.sleep(turn - now)

    async def _plan(self, call: Leased, campaign: Campaign) -> Plan:
        account, tariff = await self._book.payer(call.account_id)
        number = Phone(e164=call.phone, country=call.country, trial=call.trial)
        phones.check_destination(number, countries=account.countries)
        overrides = msgspec.convert(call.overrides or {}, CallOverrides)
        rate, hours = tariff.rate_for(call.phone), self._book.hours(campaign, call, self._now())
        script, clips = await self._script(call, campaign, overrides)
        return Plan(
            call=call,
            campaign=campaign,
            overrides=overrides,
            script=script,
            clips=clips,
            rate=rate,
            hours=hours,
        )

    async def _script(
        self, call: Leased, campaign: Campaign, overrides: CallOverrides
    ) -> tuple[Script, Mapping[Prompt, Path]]:
        """What the call says, and where it is. Calls that have nothing of their own share it between two looks."""
        kept = self._scripts.get(campaign.campaign_id)
        if (
            not call.overrides
            and kept is not None
            and kept.campaign is campaign
            and kept.clip_id == call.clip_id
        ):
            return kept.script, kept.clips
        script = script_of_type(campaign.type, campaign.settings, overrides)
        if campaign.type is CampaignType.flashcall:
            script = _SILENT  # it only rings
        elif script is None:
            if call.clip_id is None:
                raise SpeechFailed("The campaign says nothing, and neither does the call.")
            script = plain(Prompt(clip_id=call.clip_id))
        voice = overrides.voice or campaign.settings.voice
        clips = await self._prompts.files(call.account_id, voice, script.prompts())
        if script.nodes:
            self._check_first(script, clips, overrides.max_call_time or campaign.settings.max_call_time)
        if not call.overrides:
            if len(self._scripts) >= _KEPT:
                self._scripts.clear()
            self._scripts[campaign.campaign_id] = _Spoken(campaign, call.clip_id, script, clips)
        return script, clips

    def _check_first(self, script: Script, clips: Mapping[Prompt, Path], max_call_time: int) -> None:
        """Raise ClipTooShort, or CallTooShort, where nobody could hear the first prompt."""
        seconds = self._prompts.seconds(clips[script.nodes[script.start].prompt])
        if seconds < _SHORTEST:
            raise ClipTooShort()
        if seconds > max_call_time:
            raise CallTooShort()

    async def _refused(self, call: Leased, campaign: Campaign, refusal: Refusal) -> None:
        now = self._now()
        match refusal:
            case Refusal.fenced:
                raise Fenced()
            case Refusal.no_money:
                await self._no_money(call, campaign, now)
            case Refusal.no_money_yet:
                await self._give_back(call, soon(now, _MONEY_SOON))
            case Refusal.capped:
                await self._capped(call, campaign, now)
            case Refusal.closed:
                await self._outside_window(call, campaign, now)
            case Refusal.campaign_busy | Refusal.trunk_busy:
                await self._give_back(call, soon(now, _AGAIN))
            case Refusal.gone:
                await self._gone(call, campaign, now)

    async def _capped(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        free_at = await self._free_at(call, campaign, now)
        if free_at is None:  # the day's cap: it has no clock of its own
            await self._give_back(call, soon(now, _CAPPED))
        elif self._book.too_late(campaign, call, free_at):
            spent = [call]
            await self._db.patiently(
                lambda: calls.exhaust(self._db, spent, epoch=self._epoch, now=now), what="exhaust"
            )
        else:
            await self._give_back(call, free_at)

    async def _free_at(self, call: Leased, campaign: Campaign, now: datetime) -> datetime | None:
        """When a callee who was called too often may be called again, where a cap says so."""
        known = await caps.free_at(
            self._db, call.account_id, [call.phone], self._book.caps(campaign), now=now
        )
        return known.get(call.phone)

    async def _no_money(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        if campaign.settings.no_money is NoMoneyPolicy.end:
            await self._fail(call, campaign, Disposition.no_money)
            return
        own = campaign.settings.max_cost is not None
        with contextlib.suppress(NotAllowedNow):  # somebody has paused it already
            await steering.pause(
                self._db,
                campaign.account_id,
                campaign.campaign_id,
                reason=Reason.max_cost if own else Reason.no_money,
                now=now,
            )
        await self._give_back(call, now)

    async def _gone(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        gone = await calls.why_gone(self._db, call, epoch=self._epoch, now=now)
        if gone is None or not gone.ours or gone.state not in (CallState.queued, CallState.waiting):
            return
        if gone.removing:
            await calls.leave_queue(self._db, call, state="removed", call_end="removed", now=now)
        elif gone.expired:
            await calls.leave_queue(self._db, call, state="expired", call_end="expired", now=now)
        elif gone.stopped:
            stopped_by = Cause.global_stop_list if gone.globally else Cause.stop_list
            await self._fail(call, campaign, Disposition.blocked, stopped_by)
        else:
            # Its campaign was paused, which the book learns in a moment.
            await self._give_back(call, soon(now, _AGAIN))

    async def _fail(
        self, call: Leased, campaign: Campaign, disposition: Disposition, cause: Cause | None = None
    ) -> None:
        """Record an attempt that never became a leg."""
        now = self._now()
        # A script that cannot be run is a failure of the script, before anybody was called.
        script_result = ScriptResult.error if cause is Cause.call_too_short else ScriptResult.none
        outcome = Outcome(disposition=disposition, script_result=script_result, cause=cause)
        if disposition is Disposition.blocked:
            after = Next(state=CallState.blocked, call_end=CallEnd.stopped)
        elif cause is Cause.call_too_short:
            after = Next(
                state=CallState.finished, call_end=CallEnd.unsuccessful
            )  # nor will it be longer next time
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
            lambda: calls.fail(self._db, call, outcome, after, epoch=self._epoch, now=now),
            what="fail",
        ):
            meters.attempts.labels(disposition, "none").inc()
            await self._watch.heard(campaign, call.call_id, outcome)

    async def _history(self, call: Leased) -> tuple[Outcome, ...]:
        if call.attempts == 0:
            return ()
        leg = LegId(call.call_id, call.attempts + 1, 1)
        return await legs.history(self._db, account_id=call.account_id, leg=leg)

    async def _outside_window(self, call: Leased, campaign: Campaign, now: datetime) -> None:
        opens = self._book.hours(campaign, call, now).opens(now)
        if opens is None:
            await calls.leave_queue(self._db, call, state="expired", call_end="expired", now=now)
        else:
            await self._give_back(call, opens)

    async def _give_back(self, call: Leased, due_at: datetime) -> None:
        await self._db.patiently(
            lambda: calls.release(self._db, call, epoch=self._epoch, due_at=due_at), what="release"
        )
