"""How do lists of numbers come in, and what came of them?

`phones/append/calls/`, `phonelists/call_ids_by_phonelist/`, and two extensions of ours: `phonelists/progress/` and
`phonelists/rejected/`.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from zvonar.core.campaign import CampaignStatus, CampaignType
from zvonar.dialects.callo import answers, errors, limits, ours
from zvonar.dialects.callo.errors import FormInvalid, PhoneListMissing
from zvonar.dialects.callo.requests.bulk import (
    FILE,
    BulkForm,
    bulk_form,
    call_ids_form,
    phone_list_form,
    sent_by,
)
from zvonar.dialects.callo.requests.form import Form
from zvonar.dialects.callo.routes.common import BIGINT, Req, Service, account_of, campaign_of, opened
from zvonar.intake import reasons, upload
from zvonar.intake.jobs import enqueue
from zvonar.intake.judge import Layout
from zvonar.intake.sheet import FileEmpty, FileIsBinary
from zvonar.intake.workbook import WorkbookTooLarge, WorkbookUnreadable
from zvonar.store import phone_lists
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.phone_lists import PhoneList, PhoneListNotFound

# The reference: not used in these.
_CLOSED_TYPES = frozenset(
    {CampaignType.pincode, CampaignType.pincode_short, CampaignType.tellcode, CampaignType.flashcall}
)
_BOTH = [HttpMethod.GET, HttpMethod.POST]


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests about lists."""

    @route(
        "/phones/append/calls",
        http_method=_BOTH,
        status_code=200,
        request_max_body_size=limits.MAX_LIST,
    )
    async def append_calls(request: Req) -> Response[dict[str, Any]]:
        """Accept a list for a campaign; its calls are added in the background."""
        language = errors.language_of(request.headers.get("accept-language"))
        async with sent_by(request) as sent:
            form = Form(sent.fields)
            account = await account_of(service, form, now=service.now())
            asked = bulk_form(form, sent)
            assert account is not None
            answer = await _accepted(service, account, asked)
        return Response(answer, headers=errors.headers(language))

    @route("/phonelists/call_ids_by_phonelist", http_method=_BOTH, status_code=200)
    async def call_ids(request: Req) -> Stream:
        """The calls of a list, the newest first, as CSV."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = call_ids_form(form)
        assert account is not None
        assert asked.campaign_id is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        found = await _phone_list(service, account, asked.phone_list_id)
        return _table(_call_ids(service, found, campaign), errors.headers(language))

    @route("/phonelists/progress", http_method=_BOTH, status_code=200)
    async def progress(request: Req) -> Response[dict[str, Any]]:
        """How far a list is worked off."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = phone_list_form(form)
        assert account is not None
        found = await _phone_list(service, account, asked.phone_list_id)
        return Response(answers.phone_list(found), headers=errors.headers(language))

    @route("/phonelists/rejected", http_method=_BOTH, status_code=200)
    async def rejected(request: Req) -> Stream:
        """The rows of a list that did not become calls, as CSV."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = phone_list_form(form)
        assert account is not None
        found = await _phone_list(service, account, asked.phone_list_id)
        return _table(_rejects(service, found, russian=language == "ru"), errors.headers(language))

    return [append_calls, call_ids, progress, rejected]


async def _accepted(service: Service, account: Account, form: BulkForm) -> dict[str, Any]:
    campaign = await campaign_of(service.db, account, form.campaign_id)
    _check(account, campaign, form)
    field = form.sent.field
    try:
        receipt = await upload.receive(
            service.db,
            account,
            campaign,
            form.sent.file,
            layout=Layout(text=form.text_column, label=form.label_column),
            name=form.sent.name,
            enqueue=enqueue,
            now=service.now(),
        )
    except FileEmpty:
        raise FormInvalid({field: errors.EMPTY_FILE if field == FILE else errors.REQUIRED}) from None
    except (FileIsBinary, WorkbookUnreadable):
        raise FormInvalid({field: ours.NOT_A_LIST}) from None
    except (WorkbookTooLarge, upload.TooManyRows):
        raise FormInvalid({field: ours.LIST_TOO_LARGE}) from None
    except upload.NothingToLoad:
        raise FormInvalid({field: ours.NO_NUMBERS}) from None
    except upload.ColumnMissing as exc:
        raise FormInvalid({f"{exc.column}_from_column": ours.NO_COLUMN}) from None
    return answers.list_added(campaign.campaign_id, calls=receipt.calls, phone_list_id=receipt.phone_list_id)


def _check(account: Account, campaign: Campaign, form: BulkForm) -> None:
    if campaign.type in _CLOSED_TYPES:
        raise FormInvalid({"campaign_id": errors.WRONG_TYPE})
    if campaign.status is CampaignStatus.cancelled:
        raise FormInvalid({"campaign_id": errors.CLOSED_CAMPAIGN})
    if campaign.type is not CampaignType.regular:
        # The reference: only for campaigns of free text.
        named = {"text_from_column": form.text_column, "label_from_column": form.label_column}
        wrong = {name: errors.WRONG_TYPE for name, column in named.items() if column is not None}
        if wrong:
            raise FormInvalid(wrong)
    elif campaign.settings.script is None and form.text_column is None:
        raise FormInvalid({"text_from_column": errors.REQUIRED})
    if account.balance <= 0:
        raise FormInvalid({"public_key": errors.NO_BALANCE})


async def _phone_list(service: Service, account: Account, phone_list_id: int) -> PhoneList:
    if phone_list_id not in BIGINT:
        raise PhoneListMissing(phone_list_id)
    try:
        return await phone_lists.get(service.db, account.account_id, phone_list_id)
    except PhoneListNotFound:
        raise PhoneListMissing(phone_list_id) from None


async def _call_ids(service: Service, found: PhoneList, campaign: Campaign) -> AsyncIterator[bytes]:
    yield _csv([("phoneval", "ats_call_id", "created")])
    async for page in phone_lists.calls_of(service.db, found, campaign.campaign_id):
        yield _csv((call.phone, call.call_id, answers.instant(call.created_at)) for call in page)


async def _rejects(service: Service, found: PhoneList, *, russian: bool) -> AsyncIterator[bytes]:
    yield _csv([reasons.HEADER])
    async for page in phone_lists.rejects(service.db, found):
        yield _csv(reasons.record(row, russian=russian) for row in page)


def _csv(rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _table(rows: AsyncIterator[bytes], headers: dict[str, str]) -> Stream:
    return Stream(rows, media_type="text/csv", headers=headers)
