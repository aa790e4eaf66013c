"""What came of calls? `phones/call_by_id/`, `…/calls_by_phone/`, `…/calls_by_label/`, `…/all_calls/`."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.dialects.callo import answers, errors, limits, ours
from zvonar.dialects.callo.answers import Reading
from zvonar.dialects.callo.media import sounds
from zvonar.dialects.callo.requests.results import all_form, by_id_form, by_label_form, by_phone_form
from zvonar.dialects.callo.routes.common import (
    BIGINT,
    Req,
    Service,
    account_of,
    campaign_of,
    known_number,
    opened,
    zone_for,
)
from zvonar.dialects.callo.words import Language
from zvonar.store import calls, campaigns, results
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.results import Result


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests that read results."""

    @route("/phones/call_by_id", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def call_by_id(request: Req) -> Response[list[dict[str, Any]]]:
        """Results of calls, always as a list."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = by_id_form(form)
        assert account is not None
        known = [call_id for call_id in asked.call_ids if call_id in BIGINT]
        found = await results.by_ids(service.db, account.account_id, known)
        if asked.single and not found:
            raise errors.CallMissing(asked.call_ids[0])
        of_calls = {call.campaign_id for call in found}
        theirs = await campaigns.some(service.db, account.account_id, sorted(of_calls))
        return await answer(request, language, account, found, theirs, expand=asked.expand)

    @route("/phones/calls_by_phone", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def calls_by_phone(request: Req) -> Response[list[dict[str, Any]]]:
        """Results of all calls of a campaign to some numbers, newest first."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = by_phone_form(form, zone_for(account))
        assert account is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        numbers = [known_number(written, account) for written in asked.phones]
        phones = [number for number in numbers if number is not None]
        found = await results.by_phones(
            service.db, account.account_id, campaign.campaign_id, phones, asked.which
        )
        if asked.single and not found:
            raise errors.phone_missing(numbers[0] or asked.phones[0])
        return await answer(
            request, language, account, found, {campaign.campaign_id: campaign}, expand=asked.expand
        )

    @route("/phones/calls_by_label", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def calls_by_label(request: Req) -> Response[list[dict[str, Any]]]:
        """Results of the calls of a campaign that bear some labels."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = by_label_form(form)
        assert account is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        found = await results.by_labels(service.db, account.account_id, campaign.campaign_id, asked.labels)
        if asked.single and not found:
            raise errors.Refused(ours.bad_label(asked.labels[0]))
        return await answer(
            request,
            language,
            account,
            found,
            {campaign.campaign_id: campaign},
            expand=asked.expand,
            label=True,
        )

    @route("/phones/all_calls", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def all_calls(request: Req) -> Response[list[dict[str, Any]]]:
        """A page of a campaign's calls, newest first."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = all_form(form, zone_for(account))
        assert account is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        found = await results.page(
            service.db,
            account.account_id,
            campaign.campaign_id,
            asked.which,
            number=asked.page,
            size=limits.PAGE,
        )
        return await answer(
            request, language, account, found, {campaign.campaign_id: campaign}, expand=asked.expand
        )

    async def answer(
        request: Req,
        language: Language,
        account: Account,
        found: Sequence[Result],
        theirs: Mapping[int, Campaign],
        *,
        expand: bool,
        label: bool = False,
    ) -> Response[list[dict[str, Any]]]:
        ids = [call.call_id for call in found]
        attempts = None
        if expand:
            attempts = await calls.attempts_of(service.db, account.account_id, ids)
        reading = Reading(
            currency=account.currency,
            language=language,
            sounds=await sounds(service.media, service.db, request, account.account_id, ids),
            campaigns=theirs,
        )
        rows = answers.results(found, attempts, reading=reading, label=label)
        return Response(rows, headers=errors.headers(language))

    return [call_by_id, calls_by_phone, calls_by_label, all_calls]
