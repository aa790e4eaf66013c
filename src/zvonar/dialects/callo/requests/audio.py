"""What was uploaded, and what is said of it? A form with a file, received without holding it in memory."""

import asyncio
from typing import Any, BinaryIO, Final

from litestar import Request
from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from zvonar.dialects.callo import errors, ours
from zvonar.dialects.callo.errors import FORM, REQUIRED, FormInvalid
from zvonar.dialects.callo.limits import MAX_BODY, MAX_FIELDS
from zvonar.dialects.callo.requests.fields import Fields, decoded, urlencoded
from zvonar.dialects.callo.requests.form import Form
from zvonar.speech.formats import LARGEST

FILE: Final = "clip_file"
MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 4000

_WRITTEN: Final = 1 << 20  # bytes gathered before they go to the disk


class Received(Struct, frozen=True, kw_only=True):
    """A request's fields, and how many bytes its file has."""

    fields: Fields
    size: int | None  # None without a file; what is beyond `LARGEST` was counted and not kept


class UploadForm(Struct, frozen=True, kw_only=True):
    """`audio/upload/`: what is said of the recording."""

    name: str
    speaker: str | None
    text: str | None


async def received(request: Request[Any, Any, Any], file: BinaryIO) -> Received:
    """Everything that a request brings; its `clip_file` goes into `file`. Raises FormInvalid if unreadable.

    A file that is too large is read to its end all the same: who is refused in the middle of sending sees a broken
    connection instead of the reason.
    """
    query = dict(urlencoded(request.scope["query_string"]))
    if request.method != "POST":
        return Received(fields=query, size=None)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        fields, size = await _multipart(request, options.get("boundary", ""), file)
        return Received(fields=query | fields, size=size)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) <= MAX_BODY:
            body += chunk
    if len(body) > MAX_BODY:
        raise FormInvalid({FORM: errors.TOO_LARGE})
    if kind in ("application/x-www-form-urlencoded", ""):
        query |= dict(urlencoded(bytes(body)))
    return Received(fields=query, size=None)


async def _multipart(
    request: Request[Any, Any, Any], boundary: str, file: BinaryIO
) -> tuple[Fields, int | None]:
    fields: Fields = {}
    size: int | None = None
    gathered, data = bytearray(), bytearray()
    texts = 0  # bytes of all fields
    segment: MultipartSegment | None = None
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS) as parser:
            async for chunk in request.stream():
                for part in parser.parse(chunk) if chunk else ():
                    if isinstance(part, MultipartSegment):
                        segment, data = part, bytearray()
                        if _is_clip(part):
                            # The last of several counts, as with any field.
                            size, gathered = 0, bytearray()
                            await asyncio.to_thread(_emptied, file)
                    elif segment is None:
                        continue
                    elif _is_clip(segment):
                        assert size is not None
                        size += len(part or b"")
                        if size <= LARGEST and part:
                            gathered += part
                    elif segment.filename is None:
                        texts += len(part or b"")
                        if texts > MAX_BODY:
                            raise FormInvalid({FORM: errors.TOO_LARGE})
                        if part:
                            data += part
                        else:
                            fields[segment.name or ""] = decoded(bytes(data))
                if len(gathered) >= _WRITTEN:
                    await asyncio.to_thread(file.write, gathered)
                    gathered = bytearray()
    except (MultipartError, UnicodeError) as exc:
        raise FormInvalid({FORM: errors.UNREADABLE}) from exc
    await asyncio.to_thread(file.write, gathered)
    await asyncio.to_thread(file.flush)
    return fields, size


def upload_form(form: Form, size: int | None) -> UploadForm:
    """What is said of an upload, or FormInvalid with everything that is wrong."""
    name = form.text("clip_name", limit=MAX_NAME, required=True)
    if size is None:
        form.errors[FILE] = REQUIRED
    elif size == 0:
        form.errors[FILE] = errors.EMPTY_FILE
    elif size > LARGEST:
        form.errors[FILE] = ours.CLIP_REJECTED["too_large"]
    speaker = form.text("speaker", limit=MAX_NAME)
    text = form.text("text", limit=MAX_DESCRIPTION)
    form.check()
    assert name is not None
    return UploadForm(name=name, speaker=speaker, text=text)


def info_form(form: Form) -> int:
    """`audio/info/`: which clip. The campaign that the reference lets a client name says nothing about a clip."""
    clip_id = form.number("audioclip_id", required=True)
    form.check()
    assert clip_id is not None
    return clip_id


def _is_clip(segment: MultipartSegment) -> bool:
    """Whether it is the file; a text of that name is none, as Django has it."""
    return segment.name == FILE and bool(segment.filename)


def _emptied(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
