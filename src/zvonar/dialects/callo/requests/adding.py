"""What is to be called, and how? Forms that add calls."""

import re
from urllib.parse import unquote

from msgspec import Struct

from zvonar.core import markup
from zvonar.core.campaign import MAX_CALL_TIME, MAX_CODE, MIN_CODE
from zvonar.core.markup import MarkupInvalid
from zvonar.core.script import MAX_TEXT
from zvonar.dialects.callo import ours
from zvonar.dialects.callo.errors import NOT_VALID
from zvonar.dialects.callo.requests.form import MAX_KEY, Form
from zvonar.dialects.callo.requests.individual import Individual, individuals

MAX_LABEL = 200
MAX_PIN = 20  # digits
SUFFIX = 4  # digits of a caller ID that are a code

_LABEL = re.compile(r"\w+")


class CallForm(Struct, frozen=True, kw_only=True):
    """One number for one campaign: `phones/call/` with everything, the others with a code alone."""

    phone: str  # as it was written
    campaign_id: int
    text: str | None = None
    speaker: str | None = None
    emotion: str | None = None
    label: str | None = None
    code: str | None = None  # digits; ours to choose unless given
    max_call_time: int | None = None  # seconds
    individual: tuple[Individual, ...] = ()  # what buttons and words do in this call alone


def call_form(form: Form) -> CallForm:
    """A call to add, or FormInvalid with everything that is wrong."""
    phone, campaign_id = _who(form)
    text = form.text("text", limit=MAX_TEXT)
    if text is not None:
        try:
            markup.parse(text)
        except MarkupInvalid as exc:
            form.errors["text"] = ours.bad_markup(exc.detail or "")
    speaker = form.text("speaker", limit=MAX_KEY)
    emotion = form.text("emotion", limit=MAX_KEY)
    label = form.text("label", limit=MAX_LABEL)
    if label is not None and not _LABEL.fullmatch(label):
        form.errors["label"] = NOT_VALID
    pincode = form.digits("pincode", longest=MAX_PIN)
    max_call_time = form.number("max_call_time", low=1, high=MAX_CALL_TIME)
    individual = individuals(form)
    form.check()
    assert campaign_id is not None
    return CallForm(
        phone=phone,
        campaign_id=campaign_id,
        text=text,
        individual=individual,
        speaker=speaker,
        emotion=emotion,
        label=label,
        code=pincode,
        max_call_time=max_call_time,
    )


def confirm_form(form: Form) -> CallForm:
    """`phones/confirm/`: the subscriber enters the code, presses a key, or calls us."""
    return _coded(form, "pincode", longest=MAX_PIN)


def tellcode_form(form: Form) -> CallForm:
    """`phones/tellcode/`: the code is dictated."""
    return _coded(form, "pincode", shortest=MIN_CODE, longest=MAX_CODE)


def flashcall_form(form: Form) -> CallForm:
    """`phones/flashcall/`: the code is the end of the number that rings."""
    asked = _coded(form, "phone_suffix", longest=SUFFIX)
    # It is a whole number, which may have lost the zeros that it began with.
    return CallForm(
        phone=asked.phone,
        campaign_id=asked.campaign_id,
        code=None if asked.code is None else asked.code.zfill(SUFFIX),
    )


def _who(form: Form) -> tuple[str, int | None]:
    phone = form.text("phone", limit=MAX_KEY, required=True) or ""
    # Some clients encode it twice.
    return unquote(phone), form.number("campaign_id", required=True)


def _coded(form: Form, name: str, *, shortest: int = 1, longest: int) -> CallForm:
    phone, campaign_id = _who(form)
    code = form.digits(name, shortest=shortest, longest=longest)
    form.check()
    assert campaign_id is not None
    return CallForm(phone=phone, campaign_id=campaign_id, code=code)
