"""What is to stop? Forms that take calls out and numbers off."""

from urllib.parse import unquote

from msgspec import Struct

from zvonar.dialects.callo.errors import REQUIRED
from zvonar.dialects.callo.requests.form import MAX_KEY, Form


class RemoveForm(Struct, frozen=True, kw_only=True):
    """`phones/remove_call/`: one call, or all calls to a number; with both, that call if it is to that number."""

    campaign_id: int
    call_id: int | None
    phone: str | None  # as it was written


def remove_form(form: Form) -> RemoveForm:
    """What is to be removed, or FormInvalid."""
    call_id = form.number("call_id")
    phone = form.text("phone", limit=MAX_KEY)
    if call_id is None and phone is None and not form.errors.keys() & {"call_id", "phone"}:
        form.errors["call_id"] = REQUIRED
    campaign_id = form.number("campaign_id", required=True)
    form.check()
    assert campaign_id is not None
    return RemoveForm(
        campaign_id=campaign_id, call_id=call_id, phone=None if phone is None else unquote(phone)
    )


def phone_form(form: Form) -> str:
    """`phones/stoplist/`, `def_codes/by_phone/`: a number as it was written, or FormInvalid."""
    phone = form.text("phone", limit=MAX_KEY, required=True)
    form.check()
    assert phone is not None
    return unquote(phone)
