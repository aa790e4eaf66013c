"""Which list of numbers was sent, and how is it laid out? Forms of lists; the list itself goes to a file at once."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from litestar import Request
from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from zvonar.dialects.callo.errors import (
    EMPTY_FILE,
    FORM,
    REQUIRED,
    TOO_LARGE,
    UNREADABLE,
    FormInvalid,
    both,
)
from zvonar.dialects.callo.limits import MAX_BODY, MAX_FIELDS, MAX_PASTED
from zvonar.dialects.callo.requests.fields import Fields
from zvonar.dialects.callo.requests.form import Form

PASTED, FILE = "phones", "phones_file"
_LISTS = (PASTED, FILE)
_LAST_COLUMN = 255
_DEADLINE = 600.0  # seconds for a whole body to come in
# A plus that was not encoded arrives as a blank; before a number at the start of a line it is meant as a plus.
_BLANK_PLUS = re.compile(rb"^ (?=\d)", re.MULTILINE)


class SentList(Struct):
    """A list that came with a request."""

    field: str
    file: BinaryIO
    name: str  # of the file, if it was one
    size: int = 0  # bytes


class BulkForm(Struct, frozen=True, kw_only=True):
    """`phones/append/calls/`: a list of numbers for a campaign."""

    campaign_id: int
    sent: SentList
    text_column: int | None
    label_column: int | None


class PhoneListForm(Struct, frozen=True, kw_only=True):
    """Requests about a list that was sent before."""

    phone_list_id: int
    campaign_id: int | None


class Sent:
    """The fields of a request, and the lists among them in files that are gone when it is answered."""

    def __init__(self) -> None:
        self.fields: Fields = {}
        self.lists: dict[str, SentList] = {}
        self._kept = 0

    def close(self) -> None:
        for one in self.lists.values():
            one.file.close()

    def put(self, name: str, value: bytes) -> None:
        """A whole field."""
        if name in _LISTS:
            self.begin(name, "")
            self.add(name, value)
            return
        try:
            self.fields[name] = value.decode()
        except UnicodeDecodeError:
            self.fields[name] = None

    def begin(self, name: str, filename: str) -> None:
        """A list, whose bytes follow; the last of several counts."""
        if name in self.lists:
            self.lists.pop(name).file.close()
        self.lists[name] = SentList(name, tempfile.TemporaryFile(), filename)  # noqa: SIM115

    def add(self, name: str, piece: bytes) -> None:
        """More of a list."""
        one = self.lists[name]
        one.file.write(piece)
        one.size += len(piece)

    def count(self, piece: bytes) -> None:
        """What is kept in memory is bounded as any other form is."""
        self._kept += len(piece)
        if self._kept > MAX_BODY:
            raise FormInvalid({FORM: TOO_LARGE})


@asynccontextmanager
async def sent_by(request: Request) -> AsyncIterator[Sent]:  # type: ignore[type-arg]
    """Everything that a request brings, from wherever it stands; FormInvalid if unreadable."""
    sent = Sent()
    try:
        _urlencoded(sent, request.scope["query_string"])
        if request.method == "POST":
            kind, options = parse_options_header(request.headers.get("content-type", ""))
            async with asyncio.timeout(_DEADLINE):
                if kind == "multipart/form-data":
                    await _multipart(sent, request, options.get("boundary", ""))
                elif kind in ("application/x-www-form-urlencoded", ""):
                    body = bytearray()
                    async for piece in request.stream():
                        body += piece
                        if len(body) > MAX_PASTED:
                            raise FormInvalid({FORM: TOO_LARGE})
                    await asyncio.to_thread(_urlencoded, sent, bytes(body))
        yield sent
    finally:
        sent.close()


def bulk_form(form: Form, sent: Sent) -> BulkForm:
    """A list to load, or FormInvalid with everything that is wrong."""
    given = [one for one in sent.lists.values() if one.size or one.name]
    campaign_id = form.number("campaign_id", required=True)
    if len(given) > 1:
        form.errors[FORM] = both("phones", "phones_file")
    elif not given:
        form.errors[PASTED] = REQUIRED
    elif not given[0].size:
        form.errors[given[0].field] = EMPTY_FILE
    # The number is column 0.
    text_column = form.number("text_from_column", low=1, high=_LAST_COLUMN)
    label_column = form.number("label_from_column", low=1, high=_LAST_COLUMN)
    form.check()
    assert campaign_id is not None
    return BulkForm(
        campaign_id=campaign_id, sent=given[0], text_column=text_column, label_column=label_column
    )


def call_ids_form(form: Form) -> PhoneListForm:
    """`phonelists/call_ids_by_phonelist/`: whose calls, and of which list."""
    campaign_id = form.number("campaign_id", required=True)
    phone_list_id = form.number("phonelist_id", required=True)
    form.check()
    assert phone_list_id is not None
    return PhoneListForm(phone_list_id=phone_list_id, campaign_id=campaign_id)


def phone_list_form(form: Form) -> PhoneListForm:
    """Which list, whatever its campaign."""
    phone_list_id = form.number("phonelist_id", required=True)
    form.check()
    assert phone_list_id is not None
    return PhoneListForm(phone_list_id=phone_list_id, campaign_id=None)


def _urlencoded(sent: Sent, raw: bytes) -> None:
    if raw.count(b"&") >= MAX_FIELDS:
        raise FormInvalid({FORM: TOO_LARGE})
    for pair in raw.split(b"&"):
        key, _, value = pair.partition(b"=")
        name = unquote_to_bytes(key.replace(b"+", b" ")).decode(errors="replace")
        text = unquote_to_bytes(value.replace(b"+", b" "))
        if name in _LISTS:
            sent.put(name, _BLANK_PLUS.sub(b"+", text))
        elif name:
            sent.count(pair)
            sent.put(name, text)


async def _multipart(sent: Sent, request: Request, boundary: str) -> None:  # type: ignore[type-arg]
    segment: MultipartSegment | None = None
    data = bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS) as parser:
            async for piece in request.stream():
                for part in parser.parse(piece):
                    if isinstance(part, MultipartSegment):
                        segment, data = part, bytearray()
                        if segment.name in _LISTS:
                            sent.begin(segment.name, segment.filename or "")
                    elif segment is None:
                        continue
                    elif segment.name in _LISTS:
                        if part:
                            sent.add(segment.name, bytes(part))
                    elif part:
                        sent.count(bytes(part))
                        data += part
                    else:
                        sent.put(segment.name, bytes(data))
    except (MultipartError, UnicodeError) as exc:
        raise FormInvalid({FORM: UNREADABLE}) from exc
