"""Under which paths do Callo's clients find us, and what happens there?"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import HTTPException
from msgspec import Struct

from zvonar.core import phone as phones
from zvonar.core.campaign import CallOverrides, CampaignType
from zvonar.core.errors import CampaignNotFound, DestinationRefused, PhoneInvalid, Unauthorised
from zvonar.dialects.callo import answers, errors, limits, requests
from zvonar.dialects.callo.errors import CampaignMissing, FormInvalid
from zvonar.store import accounts, calls, campaigns, clips, trunks
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

# The same API is public under several brands; older clients know the second prefix.
PREFIXES = ("/manager/cabapi_external/api/v1", "/lk/cabapi_external/api/v1")

KEY_KIND = "callo_public_key"  # of the keys table

_BIGINT = range(-(2**63), 2**63)
_CACHED = timedelta(seconds=1)

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    now: Callable[[], datetime]  # aware


def routes(service: Service) -> list[Router]:
    """Everything that is served under the prefixes."""
    trial = _TrialNetwork(service)

    @route("/phones/call", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def add_call(request: Req) -> Response[dict[str, Any]]:
        """Accept one number for a campaign."""
        language = errors.language_of(request.headers.get("accept-language"))
        now = service.now()
        form = requests.Form(await requests.fields_of(request))
        account = await _account(service, form, now=now)
        asked = requests.call_form(form)
        assert account is not None
        answer = await _added(service, trial, account, asked, now=now)
        return Response(answer, headers=errors.headers(language))

    @route("/phones/call_by_id", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def call_by_id(request: Req) -> Response[list[dict[str, Any]]]:
        """Results of calls, always as a list."""
        language = errors.language_of(request.headers.get("accept-language"))
        form = requests.Form(await requests.fields_of(request))
        account = await _account(service, form, now=service.now())
        asked = requests.results_form(form)
        assert account is not None
        known = [call_id for call_id in asked.call_ids if call_id in _BIGINT]
        found = await calls.by_ids(service.db, account.account_id, known)
        if asked.single and not found:
            raise errors.CallMissing(asked.call_ids[0])
        attempts = None
        if asked.expand:
            ids = [call.call_id for call in found]
            attempts = await calls.attempts_of(service.db, account.account_id, ids)
        rows = [
            answers.result(
                call,
                None if attempts is None else attempts[call.call_id],
                account=account,
                language=language,
            )
            for call in found
        ]
        return Response(rows, headers=errors.headers(language))

    return [
        Router(
            prefix,
            route_handlers=[add_call, call_by_id],
            request_max_body_size=limits.MAX_BODY,
            exception_handlers={
                errors.CalloError: errors.render,
                errors.TooManyRequests: errors.render_page,
                HTTPException: errors.render_http,
                Exception: errors.render_failure,
            },
        )
        for prefix in PREFIXES
    ]


async def _account(service: Service, form: requests.Form, *, now: datetime) -> Account | None:
    """Whose key this is; None without one, which the form then says with everything else that is wrong."""
    key = requests.public_key(form)
    if key is None:
        return None
    try:
        account = await accounts.by_key(service.db, key, kind=KEY_KIND)
    except Unauthorised:
        raise FormInvalid({"public_key": errors.UNKNOWN_KEY}) from None
    await limits.check_key(service.db, account.account_id, now=now)
    return account


async def _added(
    service: Service, trial: "_TrialNetwork", account: Account, form: requests.CallForm, *, now: datetime
) -> dict[str, Any]:
    db = service.db
    campaign = await _campaign(db, account, form.campaign_id)
    try:
        phone = phones.parse(
            form.phone, country=next(iter(account.countries), ""), trial=await trial.connected()
        )
        phones.check_destination(phone, countries=account.countries)
    except PhoneInvalid:
        raise FormInvalid({"phone": errors.BAD_PHONE}) from None
    except DestinationRefused:
        raise FormInvalid({"phone": errors.CLOSED_DESTINATION}) from None
    if account.balance <= 0:
        raise FormInvalid({"public_key": errors.NO_BALANCE})
    await limits.check_phone(db, account.account_id, campaign.campaign_id, phone.e164, now=now)
    clip_id = await _clip(db, campaign, form.text, now=now)
    overrides = CallOverrides(text=form.text, max_call_time=form.max_call_time)
    new = calls.NewCall(
        phone=phone,
        label=form.label,
        overrides=overrides if overrides != CallOverrides() else None,
        clip_id=clip_id,
    )
    try:
        call_id = await calls.add(db, account.account_id, campaign.campaign_id, new, now=now)
    except calls.LabelTaken:
        raise FormInvalid({"label": errors.LABEL_TAKEN}) from None
    except calls.CampaignClosed:
        raise FormInvalid({"campaign_id": errors.CLOSED_CAMPAIGN}) from None
    except CampaignNotFound:
        raise CampaignMissing(campaign.campaign_id) from None
    pool = campaign.settings.caller_ids
    return answers.added(
        account,
        call_id=call_id,
        phone=phone.e164,
        clip_id=clip_id,
        created=now,
        caller_id=pool[0] if len(pool) == 1 else None,
    )


async def _campaign(db: Database, account: Account, campaign_id: int) -> Campaign:
    if campaign_id not in _BIGINT:
        raise CampaignMissing(campaign_id)
    try:
        campaign = await campaigns.get(db, account.account_id, campaign_id)
    except CampaignNotFound:
        raise CampaignMissing(campaign_id) from None
    if campaign.type is not CampaignType.regular:
        raise FormInvalid({"campaign_id": errors.WRONG_TYPE})
    return campaign


async def _clip(db: Database, campaign: Campaign, text: str | None, *, now: datetime) -> int:
    """The clip that the callee hears first: of the call's own text, else of the campaign's first prompt."""
    if text is None:
        script = campaign.settings.script
        if script is None:
            raise FormInvalid({"text": errors.REQUIRED})
        prompt = script.nodes[script.start].prompt
        if prompt.clip_id is not None:
            return prompt.clip_id
        assert prompt.text is not None
        text = prompt.text
    clip = await clips.put_text(db, campaign.account_id, text, campaign.settings.voice, now=now)
    return clip.clip_id


class _TrialNetwork:
    """Whether town numbers count as numbers, asked at most once a second."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connected = False
        self._asked_at: datetime | None = None

    async def connected(self) -> bool:
        now = self._service.now()
        if self._asked_at is None or not timedelta(0) <= now - self._asked_at < _CACHED:
            self._connected = await trunks.has_trial(self._service.db)
            self._asked_at = now
        return self._connected
