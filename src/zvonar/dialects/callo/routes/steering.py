"""What can be stopped? `phones/remove_call/`, `phones/stoplist/`."""

from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.dialects.callo import errors, ours
from zvonar.dialects.callo.requests.steering import phone_form, remove_form
from zvonar.dialects.callo.routes.common import (
    BIGINT,
    Req,
    Service,
    TrialNetwork,
    account_of,
    campaign_of,
    known_number,
    opened,
)
from zvonar.store import calls, removing, stoplist


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests that stop something."""
    trial = TrialNetwork(service)

    @route("/phones/remove_call", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def remove_call(request: Req) -> Response[dict[str, Any]]:
        """Take out a call, or every call to a number, unless completed."""
        language, form = await opened(request)
        now = service.now()
        account = await account_of(service, form, now=now)
        asked = remove_form(form)
        assert account is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        ids = account.account_id, campaign.campaign_id
        phone = None
        if asked.phone is not None:
            phone = known_number(asked.phone, account)
        if asked.call_id is None:
            assert asked.phone is not None
            if phone is None:
                raise errors.phone_missing(asked.phone)
            removed = await removing.by_phone(service.db, *ids, phone, now=now)
            if not removed.call_ids:
                raise (
                    errors.Refused(ours.all_completed(phone)) if removed.over else errors.phone_missing(phone)
                )
        else:
            if asked.call_id not in BIGINT:
                raise errors.CallMissing(asked.call_id)
            if asked.phone is not None:
                found = await calls.by_ids(service.db, account.account_id, [asked.call_id])
                if [call.phone for call in found] != [phone]:
                    raise errors.CallMissing(asked.call_id)
            removed = await removing.by_id(service.db, *ids, asked.call_id, now=now)
            if removed.over:
                raise errors.Refused(ours.completed(asked.call_id))
            if not removed.call_ids:
                raise errors.CallMissing(asked.call_id)
        # [G]: clients read the status alone.
        answer = {"status": "ok", "data": {"call_ids": removed.call_ids}}
        return Response(answer, headers=errors.headers(language))

    @route("/phones/stoplist", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def stop(request: Req) -> Response[dict[str, Any]]:
        """Never call a number again."""
        language, form = await opened(request)
        now = service.now()
        account = await account_of(service, form, now=now)
        written = phone_form(form)
        assert account is not None
        try:
            phone = phones.parse(
                written, country=next(iter(account.countries), ""), trial=await trial.connected()
            )
        except (PhoneInvalid, DestinationRefused):
            raise errors.FormInvalid({"phone": errors.BAD_PHONE}) from None
        await stoplist.put(service.db, account.account_id, phone.e164, reason=None, until=None, now=now)
        # [G]: clients read the status alone.
        answer = {"status": "ok", "data": {"phone": phone.e164}}
        return Response(answer, headers=errors.headers(language))

    return [remove_call, stop]
