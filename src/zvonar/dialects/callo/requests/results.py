"""Which calls are asked about? Forms that read results."""

from urllib.parse import unquote
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.callo.limits import PAGE
from zvonar.dialects.callo.outcomes import OUTCOMES, CallStatus
from zvonar.dialects.callo.requests.adding import MAX_LABEL
from zvonar.dialects.callo.requests.form import MAX_KEY, Form
from zvonar.store.results import Filter

_LAST_PAGE = 2**62 // PAGE  # as far as the store counts


class ByIdForm(Struct, frozen=True, kw_only=True):
    """`phones/call_by_id/`: which calls."""

    call_ids: list[int]
    single: bool  # asked by call_id, so that a missing one is an error
    expand: bool  # with attempts


class ByPhoneForm(Struct, frozen=True, kw_only=True):
    """`phones/calls_by_phone/`: whose calls of a campaign."""

    campaign_id: int
    phones: list[str]  # as they were written
    single: bool
    which: Filter
    expand: bool


class ByLabelForm(Struct, frozen=True, kw_only=True):
    """`phones/calls_by_label/`: which calls of a campaign."""

    campaign_id: int
    labels: list[str]
    single: bool
    expand: bool


class AllForm(Struct, frozen=True, kw_only=True):
    """`phones/all_calls/`: which page of a campaign's calls."""

    campaign_id: int
    page: int  # from 1
    which: Filter
    expand: bool


def by_id_form(form: Form) -> ByIdForm:
    """The calls that are asked for, or FormInvalid."""
    call_id = form.number("call_id")
    call_ids = form.numbers("call_ids")
    form.one_or_many("call_id", call_id, "call_ids", call_ids)
    expand = form.flag("expand")
    form.check()
    return ByIdForm(
        call_ids=call_ids if call_id is None else [call_id], single=call_id is not None, expand=expand
    )


def by_phone_form(form: Form, zone: ZoneInfo) -> ByPhoneForm:
    """The numbers that are asked about, or FormInvalid. `zone`: where dates without an offset are meant."""
    campaign_id = form.number("campaign_id", required=True)
    phone = form.text("phone", limit=MAX_KEY)
    phones = form.texts("phones", limit=MAX_KEY)
    form.one_or_many("phone", phone, "phones", phones)
    which = _dates(form, zone)
    expand = form.flag("expand")
    form.check()
    assert campaign_id is not None
    return ByPhoneForm(
        campaign_id=campaign_id,
        # Some clients encode them twice.
        phones=[unquote(written) for written in (phones if phone is None else [phone])],
        single=phone is not None,
        which=which,
        expand=expand,
    )


def by_label_form(form: Form) -> ByLabelForm:
    """The labels that are asked about, or FormInvalid."""
    campaign_id = form.number("campaign_id", required=True)
    label = form.text("label", limit=MAX_LABEL)
    labels = form.texts("labels", limit=MAX_LABEL)
    form.one_or_many("label", label, "labels", labels)
    expand = form.flag("expand")
    form.check()
    assert campaign_id is not None
    return ByLabelForm(
        campaign_id=campaign_id,
        labels=labels if label is None else [label],
        single=label is not None,
        expand=expand,
    )


def all_form(form: Form, zone: ZoneInfo) -> AllForm:
    """The page that is asked for, or FormInvalid."""
    campaign_id = form.number("campaign_id", required=True)
    page = form.number("page", low=1, high=_LAST_PAGE)
    which = _dates(form, zone, call_status=form.text("call_status", limit=MAX_KEY))
    expand = form.flag("expand")
    form.check()
    assert campaign_id is not None
    return AllForm(campaign_id=campaign_id, page=page or 1, which=which, expand=expand)


def _dates(form: Form, zone: ZoneInfo, *, call_status: str | None = None) -> Filter:
    """The four dates. `call_status`: one of the reference's, or a pressed key or a word instead of `user`."""
    outcomes, choice = None, None
    if call_status is not None:
        if call_status in CallStatus.__members__:
            outcomes = OUTCOMES[CallStatus(call_status)]
        else:
            outcomes, choice = OUTCOMES[CallStatus.user], call_status
    return Filter(
        created_from=form.moment("from_created_date", zone),
        created_till=form.moment("to_created_date", zone, till=True),
        updated_from=form.moment("from_updated_date", zone),
        updated_till=form.moment("to_updated_date", zone, till=True),
        outcomes=outcomes,
        choice=choice,
    )
