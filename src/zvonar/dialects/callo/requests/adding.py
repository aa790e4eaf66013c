"""What is to be called, and how? Forms that add calls."""

import re
from urllib.parse import unquote

from msgspec import Struct

from zvonar.core.campaign import MAX_CALL_TIME
from zvonar.core.script import MAX_TEXT
from zvonar.dialects.callo.errors import NOT_VALID
from zvonar.dialects.callo.requests.form import MAX_KEY, Form

MAX_LABEL = 200

_LABEL = re.compile(r"\w+")


class CallForm(Struct, frozen=True, kw_only=True):
    """`phones/call/`: one number for one campaign. Voices (speaker, emotion) are accepted and not used yet."""

    phone: str  # as it was written
    campaign_id: int
    text: str | None = None
    label: str | None = None
    max_call_time: int | None = None  # seconds


def call_form(form: Form) -> CallForm:
    """A call to add, or FormInvalid with everything that is wrong."""
    phone = form.text("phone", limit=MAX_KEY, required=True)
    campaign_id = form.number("campaign_id", required=True)
    text = form.text("text", limit=MAX_TEXT)
    if text is not None and text.startswith("<audio"):
        form.errors["text"] = (
            NOT_VALID  # clips are not played by markup yet, and must not be read out as words
        )
    label = form.text("label", limit=MAX_LABEL)
    if label is not None and not _LABEL.fullmatch(label):
        form.errors["label"] = NOT_VALID
    form.number("pincode")  # must be one, though a regular campaign asks for none
    max_call_time = form.number("max_call_time", low=1, high=MAX_CALL_TIME)
    form.check()
    assert phone is not None
    assert campaign_id is not None
    if "%" in phone:
        phone = unquote(phone)  # some clients encode it twice
    return CallForm(phone=phone, campaign_id=campaign_id, text=text, label=label, max_call_time=max_call_time)
