"""What did a Callo client send? Fields from the query, a urlencoded or a multipart body, then checked forms."""

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_to_bytes

from litestar import Request
from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from zvonar.core.campaign import MAX_CALL_TIME
from zvonar.core.script import MAX_TEXT
from zvonar.dialects.callo.errors import (
    BOTH_IDS,
    FORM,
    NOT_UTF8,
    NOT_VALID,
    NOT_WHOLE,
    NUL,
    REQUIRED,
    TOO_LARGE,
    UNREADABLE,
    FormInvalid,
    Text,
    at_least,
    at_most,
    too_long,
    too_many,
)
from zvonar.dialects.callo.limits import MAX_FIELDS, MAX_IDS

MAX_LABEL = 200
MAX_KEY = 200

# Field → its text; None where its bytes are not UTF-8.
Fields = dict[str, str | None]

_WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_LABEL = re.compile(r"\w+")
_TRUE = frozenset({"1", "true", "on", "yes"})


async def fields_of(request: Request) -> Fields:  # type: ignore[type-arg]
    """Every field of a request, the body's before the query's, the last of several; FormInvalid if unreadable."""
    fields: Fields = dict(_urlencoded(request.scope["query_string"]))
    if request.method == "POST":
        body = await request.body()
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind == "multipart/form-data":
            fields |= dict(_multipart(body, options.get("boundary", "")))
        elif kind in ("application/x-www-form-urlencoded", ""):
            fields |= dict(_urlencoded(body))
    return fields


def _urlencoded(raw: bytes) -> Iterator[tuple[str, str | None]]:
    if raw.count(b"&") >= MAX_FIELDS:
        raise FormInvalid({FORM: TOO_LARGE})
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        key = _decoded(unquote_to_bytes(name.replace(b"+", b" ")))
        if key == "phone":
            # A plus that was not encoded would be a blank; in a number it is meant as a plus.
            yield key, _decoded(unquote_to_bytes(value))
        elif key:
            yield key, _decoded(unquote_to_bytes(value.replace(b"+", b" ")))


def _multipart(body: bytes, boundary: str) -> Iterator[tuple[str, str | None]]:
    segment: MultipartSegment | None = None
    data = bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS) as parser:
            for part in parser.parse(body):
                if isinstance(part, MultipartSegment):
                    segment, data = part, bytearray()
                elif part:
                    data += part
                elif segment is not None:
                    yield segment.name, _decoded(bytes(data))
    except (MultipartError, UnicodeError) as exc:
        raise FormInvalid({FORM: UNREADABLE}) from exc


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


class CallForm(Struct, frozen=True, kw_only=True):
    """`phones/call/`: one number for one campaign. Voices (speaker, emotion) are accepted and not used yet."""

    phone: str  # as it was written
    campaign_id: int
    text: str | None = None
    label: str | None = None
    max_call_time: int | None = None  # seconds


class ResultsForm(Struct, frozen=True, kw_only=True):
    """`phones/call_by_id/`: which calls."""

    call_ids: list[int]
    single: bool  # asked by call_id, so that a missing one is an error
    expand: bool  # with attempts


class Form:
    """Cleans fields and gathers what is wrong with them, in the order in which they are asked for."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.errors: dict[str, Text] = {}

    def check(self) -> None:
        """Raise FormInvalid if anything was wrong so far."""
        if self.errors:
            raise FormInvalid(self.errors)

    def text(self, name: str, *, limit: int, required: bool = False) -> str | None:
        """A text without its surrounding blanks; None where it is empty, missing or wrong."""
        text = self._fields.get(name, "")
        if text is None:
            self.errors[name] = NOT_UTF8
            return None
        text = text.strip()
        if "\0" in text:
            self.errors[name] = NUL
        elif len(text) > limit:
            self.errors[name] = too_long(limit, len(text))
        elif text:
            return text
        elif required:
            self.errors[name] = REQUIRED
        return None

    def number(
        self, name: str, *, required: bool = False, low: int | None = None, high: int | None = None
    ) -> int | None:
        """A whole number; None where it is empty, missing or wrong."""
        text = self.text(name, limit=MAX_KEY, required=required)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            self.errors[name] = NOT_WHOLE
            return None
        number = int(text)
        if low is not None and number < low:
            self.errors[name] = at_least(low)
        elif high is not None and number > high:
            self.errors[name] = at_most(high)
        return number

    def numbers(self, name: str) -> list[int]:
        """Whole numbers between commas."""
        parts = [part.strip() for part in (self.text(name, limit=MAX_IDS * 42) or "").split(",")]
        parts = [part for part in parts if part]
        if len(parts) > MAX_IDS:
            self.errors[name] = too_many(MAX_IDS)
        elif not all(_WHOLE.fullmatch(part) for part in parts):
            self.errors[name] = NOT_WHOLE
        else:
            return [int(part) for part in parts]
        return []


def public_key(form: Form) -> str | None:
    """The key that a request came with, if it came with one."""
    return form.text("public_key", limit=MAX_KEY, required=True)


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


def results_form(form: Form) -> ResultsForm:
    """The calls that are asked for, or FormInvalid."""
    call_id = form.number("call_id")
    call_ids = form.numbers("call_ids")
    expand = (form.text("expand", limit=MAX_KEY) or "").lower() in _TRUE
    if call_id is not None and call_ids:
        form.errors[FORM] = BOTH_IDS
    elif call_id is None and not call_ids and not form.errors.keys() & {"call_id", "call_ids"}:
        form.errors["call_id"] = REQUIRED
    form.check()
    return ResultsForm(
        call_ids=call_ids if call_id is None else [call_id], single=call_id is not None, expand=expand
    )
