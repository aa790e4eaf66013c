"""How do single calls come in? `phones/call/`, `phones/confirm/`, `phones/tellcode/`, `phones/flashcall/`."""

import asyncio
import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import structlog
from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from zvonar.core import markup
from zvonar.core import phone as phones
from zvonar.core import pool as caller_ids
from zvonar.core.campaign import CallOverrides, CampaignSettings, CampaignType, script_of
from zvonar.core.errors import CampaignNotFound, DestinationRefused, PhoneInvalid, Unauthorised
from zvonar.core.markup import MarkupInvalid
from zvonar.core.phone import Phone
from zvonar.core.reaction import ReactionOverride
from zvonar.core.script import Prompt
from zvonar.dialects.callo import answers, errors, limits
from zvonar.dialects.callo.errors import (
    CalledTooOften,
    CalloError,
    CampaignMissing,
    FormInvalid,
    TooManyRequests,
)
from zvonar.dialects.callo.requests.adding import (
    SUFFIX,
    CallForm,
    call_form,
    confirm_form,
    flashcall_form,
    tellcode_form,
)
from zvonar.dialects.callo.requests.form import Form, public_key
from zvonar.dialects.callo.requests.individual import overrides
from zvonar.dialects.callo.routes.common import BIGINT, KEY_KIND, Req, Service, opened
from zvonar.dialects.callo.routes.known import Known
from zvonar.dialects.callo.voices import voice_of
from zvonar.store import accepting, accounts, dids, trunks
from zvonar.store.accepting import Acceptance, Accepted, Refusal, Request, Spoken
from zvonar.store.accounts import Account
from zvonar.store.calls import NewCall
from zvonar.store.campaigns import Campaign
from zvonar.store.db import StoreUnavailable

log = structlog.get_logger(__name__)

_GATHER = 0.01  # seconds from a call's acceptance to the ring for the dialer
_ALLOWED = 3  # numbers that a subscriber is told he may call
_LOOKS = 4  # at a campaign that changes while a call of it comes in

_CALLED = frozenset({CampaignType.regular, CampaignType.pincode})
_CONFIRMED = frozenset({CampaignType.pincode, CampaignType.pincode_short, CampaignType.pincode_incoming})
_TOLD = frozenset({CampaignType.tellcode})
_FLASHED = frozenset({CampaignType.flashcall})


class Added(Struct, frozen=True, kw_only=True):
    """A call that is committed, and what its answer says of it."""

    call: Accepted
    campaign: Campaign
    new: NewCall
    at: datetime
    allowed: list[str]  # what the subscriber may call, where that is what confirms

    @property
    def code(self) -> str:
        """Empty where there is none."""
        return (self.new.overrides.code if self.new.overrides else None) or ""


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests that add calls."""
    intake = Intake(service)

    @route("/phones/call", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def add_call(request: Req) -> Response[dict[str, Any]]:
        """Accept one number for a campaign."""
        language, form = await opened(request)
        added = await intake.add(form, call_form, _CALLED)
        pool = added.campaign.settings.caller_ids
        answer = answers.added(
            added.call,
            phone=added.new.phone.e164,
            clip_id=added.call.clip_id,
            created=added.at,
            # Which of several it will be, nobody knows yet.
            caller_id=pool[0] if len(pool) == 1 and caller_ids.whole(pool) else None,
        )
        return Response(answer, headers=errors.headers(language))

    @route("/phones/confirm", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def confirm(request: Req) -> Response[dict[str, Any]]:
        """Accept one number that its subscriber is to confirm."""
        language, form = await opened(request)
        added = await intake.add(form, confirm_form, _CONFIRMED)
        allowed = added.allowed if added.campaign.type is CampaignType.pincode_incoming else None
        answer = answers.coded(
            added.call, phone=added.new.phone.e164, code=added.code, created=added.at, allowed=allowed
        )
        return Response(answer, headers=errors.headers(language))

    @route("/phones/tellcode", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def tellcode(request: Req) -> Response[dict[str, Any]]:
        """Accept one number that is to be told a code."""
        language, form = await opened(request)
        added = await intake.add(form, tellcode_form, _TOLD)
        answer = answers.coded(added.call, phone=added.new.phone.e164, code=added.code, created=added.at)
        return Response(answer, headers=errors.headers(language))

    @route("/phones/flashcall", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def flashcall(request: Req) -> Response[dict[str, Any]]:
        """Accept one number that is to ring from a number which ends in a code."""
        language, form = await opened(request)
        added = await intake.add(form, flashcall_form, _FLASHED)
        answer = answers.coded(added.call, phone=added.new.phone.e164, code=added.code, created=added.at)
        return Response(answer, headers=errors.headers(language))

    return [add_call, confirm, tellcode, flashcall]


class Intake:
    """Takes calls in, each by one statement where everything else is known already."""

    def __init__(self, service: Service) -> None:
        self._db = service.db
        self._now = service.now
        self._known = Known(service.db, kind=KEY_KIND)
        self._acceptance = Acceptance(
            service.db, kind=KEY_KIND, per_key=limits.PER_KEY, number_scope=limits.NUMBER_SCOPE
        )
        self._ringing: asyncio.Task[None] | None = None

    async def add(
        self, form: Form, cleaned: Callable[[Form], CallForm], types: Collection[CampaignType]
    ) -> Added:
        """The call that a form asks for, or whatever is wrong; then nothing has changed but the key's rate."""
        now = self._now()
        key = public_key(form)
        if key is None:
            cleaned(form)
        assert key is not None
        key_hash = accounts.hash_key(key)
        try:
            account = await self._known.account(key, key_hash, now=now)
        except Unauthorised:
            raise FormInvalid({"public_key": errors.UNKNOWN_KEY}) from None
        try:
            asked = cleaned(form)
            return await self._add(account, key_hash, asked, types, now=now)
        except _Counted as exc:
            raise exc.refusal from None
        except CalloError:
            # What comes to nothing before it reaches the statement is a request as well.
            await limits.check_key(self._db, key_hash, now=now)
            raise

    async def _add(
        self,
        account: Account,
        key_hash: bytes,
        asked: CallForm,
        types: Collection[CampaignType],
        *,
        now: datetime,
    ) -> Added:
        if asked.campaign_id not in BIGINT:
            raise CampaignMissing(asked.campaign_id)
        for look in range(_LOOKS):
            try:
                campaign, fresh = await self._known.campaign(
                    account.account_id, asked.campaign_id, fresh=look > 0
                )
            except CampaignNotFound:
                raise CampaignMissing(asked.campaign_id) from None
            try:
                new, says, allowed = await self._new(account, campaign, asked, types, now=now)
            except CalloError:
                if fresh:
                    raise
                continue  # it was found wanting by how the campaign was
            request = Request(
                campaign=campaign,
                new=new,
                says=says,
                key=key_hash,
                number=limits.number_key(account.account_id, campaign.campaign_id, new.phone.e164),
                per_number=limits.per_number(campaign.settings.call_limit),
                at=now,
            )
            accepted = await self._acceptance.accept(request)
            if isinstance(accepted, Accepted):
                self._ring()
                if says is not None and accepted.clip_id is not None:
                    self._known.met_clip(account.account_id, says.text, says.voice, accepted.clip_id)
                return Added(call=accepted, campaign=campaign, new=new, at=now, allowed=allowed)
            if accepted is not Refusal.stale:
                raise _refused(accepted, campaign, new.phone)
        raise FormInvalid({"campaign_id": errors.BUSY_CAMPAIGN})

    def _ring(self) -> None:
        """Tell the dialer soon; until then others may come, and one ring does for all."""
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._rung())

    async def _rung(self) -> None:
        await asyncio.sleep(_GATHER)
        try:
            await accepting.ring(self._db)
        except StoreUnavailable:
            log.warning("callo.not_rung")  # the dialer looks by itself every second

    async def _new(
        self,
        account: Account,
        campaign: Campaign,
        asked: CallForm,
        types: Collection[CampaignType],
        *,
        now: datetime,
    ) -> tuple[NewCall, Spoken | None, list[str]]:
        """The call as it will be stored, what it says where no clip of that is known, what its subscriber may call."""
        if campaign.type not in types:
            raise FormInvalid({"campaign_id": errors.WRONG_TYPE})
        try:
            phone = phones.parse(
                asked.phone,
                country=next(iter(account.countries), ""),
                trial=await self._known.trial(now=now),
            )
        except (PhoneInvalid, DestinationRefused):
            raise FormInvalid({"phone": errors.BAD_PHONE}) from None
        settings = campaign.settings
        pool: list[str] = list(settings.caller_ids)
        if campaign.type in (CampaignType.flashcall, CampaignType.pincode_incoming) and not pool:
            pool = await trunks.caller_ids(self._db, account.account_id, trial=phone.trial)
        voice = voice_of(asked.speaker, asked.emotion, settings.voice)
        individual = CallOverrides(
            text=asked.text,
            voice=None if voice == settings.voice else voice,
            max_call_time=asked.max_call_time,
            code=_code(campaign, asked.code, pool),
            reactions=await self._reactions(account, settings, asked, trial=phone.trial),
        )
        first = _first(campaign, individual)
        clip_id = None if first is None else first.clip_id
        says = None
        if asked.text is not None and not await self._known.has_clips(account.account_id, asked.text):
            raise FormInvalid({"text": errors.UNKNOWN_CLIP})
        if first is not None and first.text is not None:
            clip_id = _only_clip(first.text)
        if first is not None and first.text is not None and clip_id is None:
            clip_id = self._known.clip(account.account_id, first.text, voice)
            says = Spoken(text=first.text, voice=voice) if clip_id is None else None
        new = NewCall(
            phone=phone,
            label=asked.label,
            overrides=None if individual == CallOverrides() else individual,
            clip_id=clip_id,
        )
        return new, says, await self._allowed(account, campaign, pool)

    async def _allowed(self, account: Account, campaign: Campaign, pool: list[str]) -> list[str]:
        """What a subscriber may call to confirm: the campaign's numbers, the account's, or those that it shows."""
        if campaign.type is not CampaignType.pincode_incoming:
            return []
        if campaign.settings.incoming_numbers:
            return list(campaign.settings.incoming_numbers)
        own = [did.phone for did in await dids.of_account(self._db, account.account_id)]
        allowed = own[:_ALLOWED] or caller_ids.some(pool, _ALLOWED)
        if not allowed:
            # Nobody could confirm it.
            raise FormInvalid({"campaign_id": errors.NO_CALLER_IDS})
        return allowed

    async def _reactions(
        self, account: Account, settings: CampaignSettings, asked: CallForm, *, trial: bool
    ) -> tuple[ReactionOverride, ...]:
        """What buttons and words do in this call alone."""
        if not asked.individual:
            return ()
        changed = overrides(
            asked.individual, settings.script, country=next(iter(account.countries), ""), trial=trial
        )
        missing = {
            one.name: errors.UNKNOWN_CLIP
            for one in asked.individual
            if one.field == "say" and not await self._known.has_clips(account.account_id, one.value)
        }
        if missing:
            raise FormInvalid(missing)
        return changed


class _Counted(CalloError):
    """Refused by the statement, which has counted the request already."""

    def __init__(self, refusal: Exception) -> None:
        super().__init__()
        self.refusal = refusal


def _first(campaign: Campaign, overrides: CallOverrides) -> Prompt | None:
    """What the callee hears first: the call's own text, else the campaign's first prompt; None where nobody says."""
    script = script_of(campaign.settings, overrides)
    if script is not None:
        return script.nodes[script.start].prompt
    if campaign.type is CampaignType.regular:
        raise FormInvalid({"text": errors.REQUIRED})
    return None


def _only_clip(text: str) -> int | None:
    """The clip of a text that is nothing else; a campaign's own text may have been stored before it was looked at."""
    try:
        return markup.only_clip(text)
    except MarkupInvalid:
        return None


def _code(campaign: Campaign, asked: str | None, pool: list[str]) -> str | None:
    """The code of a call: what the client asks for, else one that nobody can guess."""
    match campaign.type:
        case CampaignType.regular:
            return None
        case CampaignType.pincode_incoming:
            return asked  # who calls us is known by the number; a code is asked for only where the client has one
        case CampaignType.flashcall:
            if asked is None:
                drawn = caller_ids.drawn(pool, SUFFIX, secrets.randbelow)
                if drawn is None:
                    raise FormInvalid({"campaign_id": errors.NO_CALLER_IDS})
                return drawn
            if not caller_ids.ends_with(pool, asked):
                raise FormInvalid({"phone_suffix": errors.NO_SUCH_NUMBER})
            return asked
        case _:
            length = campaign.settings.code_length
            return asked or f"{secrets.randbelow(10**length):0{length}d}"


def _refused(refusal: Refusal, campaign: Campaign, phone: Phone) -> _Counted:
    match refusal:
        case Refusal.too_many:
            return _Counted(TooManyRequests())
        case Refusal.unauthorised:
            return _Counted(FormInvalid({"public_key": errors.UNKNOWN_KEY}))
        case Refusal.no_balance | Refusal.no_money:
            return _Counted(FormInvalid({"public_key": errors.NO_BALANCE}))
        case Refusal.no_campaign:
            return _Counted(CampaignMissing(campaign.campaign_id))
        case Refusal.label_taken:
            return _Counted(FormInvalid({"label": errors.LABEL_TAKEN}))
        case Refusal.too_often:
            limit = campaign.settings.call_limit
            return _Counted(
                CalledTooOften(campaign.campaign_id, phone.e164, count=limit.count, seconds=limit.seconds)
            )
        case _:
            return _Counted(FormInvalid({"campaign_id": errors.CLOSED_CAMPAIGN}))
