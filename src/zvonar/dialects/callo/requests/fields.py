"""Where do a request's fields stand? In the query, a urlencoded or a multipart body; any of them may have any."""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from litestar import Request
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from zvonar.dialects.callo.errors import FORM, TOO_LARGE, UNREADABLE, FormInvalid
from zvonar.dialects.callo.limits import MAX_FIELDS

# Field → its text; None where its bytes are not UTF-8.
Fields = dict[str, str | None]

# A plus that was not encoded, where a number begins in a list of them: whoever did not encode it has not encoded the
# comma before it either.
_RAW_PLUS = re.compile(rb"(?:^|(?<=[,;+])|(?<=%0[AaDd9]))\+(?=\d)")
_FIRST_PLUS = re.compile(rb"^\+(?=\d)")  # of one number; any other is a blank, as forms write them


async def fields_of(request: Request) -> Fields:  # type: ignore[type-arg]
    """Every field of a request, the body's before the query's, the last of several; FormInvalid if unreadable."""
    fields: Fields = dict(urlencoded(request.scope["query_string"]))
    if request.method == "POST":
        body = await request.body()
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind == "multipart/form-data":
            fields |= dict(_multipart(body, options.get("boundary", "")))
        elif kind in ("application/x-www-form-urlencoded", ""):
            fields |= dict(urlencoded(body))
    return fields


def urlencoded(raw: bytes) -> Iterator[tuple[str, str | None]]:
    """The fields of a query or a urlencoded body, in their order."""
    if raw.count(b"&") >= MAX_FIELDS:
        raise FormInvalid({FORM: TOO_LARGE})
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        key = decoded(unquote_to_bytes(name.replace(b"+", b" ")))
        if key in ("phone", "phones") and b"%2b" not in value.lower():
            # A plus that was not encoded would be a blank; where a number begins it is meant as a plus.
            value = (_RAW_PLUS if key == "phones" else _FIRST_PLUS).sub(b"%2B", value)
        if key:
            yield key, decoded(unquote_to_bytes(value.replace(b"+", b" ")))


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
                    yield segment.name, decoded(bytes(data))
    except (MultipartError, UnicodeError) as exc:
        raise FormInvalid({FORM: UNREADABLE}) from exc


def decoded(raw: bytes) -> str | None:
    """A field's text; None where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
