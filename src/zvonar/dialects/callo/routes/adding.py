"""How do calls come in? `phones/call/`."""

from datetime import datetime
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.core import phone as phones
from zvonar.core.campaign import CallOverrides, CampaignType
from zvonar.core.errors import CampaignNotFound, DestinationRefused, PhoneInvalid
from zvonar.dialects.callo import answers, errors, limits
from zvonar.dialects.callo.errors import CampaignMissing, FormInvalid
from zvonar.dialects.callo.requests.adding import CallForm, call_form
from zvonar.dialects.callo.routes.common import Req, Service, TrialNetwork, account_of, campaign_of, opened
from zvonar.store import calls, clips
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests that add calls."""
    trial = TrialNetwork(service)

    @route("/phones/call", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def add_call(request: Req) -> Response[dict[str, Any]]:
        """Accept one number for a campaign."""
        language, form = await opened(request)
        now = service.now()
        account = await account_of(service, form, now=now)
        asked = call_form(form)
        assert account is not None
        answer = await _added(service, trial, account, asked, now=now)
        return Response(answer, headers=errors.headers(language))

    return [add_call]


async def _added(
    service: Service, trial: TrialNetwork, account: Account, form: CallForm, *, now: datetime
) -> dict[str, Any]:
    db = service.db
    campaign = await campaign_of(db, account, form.campaign_id)
    if campaign.type is not CampaignType.regular:
        raise FormInvalid({"campaign_id": errors.WRONG_TYPE})
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
