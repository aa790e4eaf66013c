"""What stands in a form with a file? Read from the body that was received already, without holding it in memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from litestar import Request
from msgspec import Struct
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from zvonar.core.script import storable
from zvonar.dialects.autocall.errors import BODY, Unprocessable, invalid, required
from zvonar.dialects.autocall.words import Text
from zvonar.intake.sheet import FileEmpty, FileIsBinary, is_workbook
from zvonar.intake.workbook import WorkbookTooLarge, WorkbookUnreadable, converted

FILE = "file"
_MAX_PARTS = 50
_MAX_TEXT = 100_000  # bytes of all fields that are no file

NOT_A_FORM = Text("The form could not be read.", "Не удалось прочитать форму.")
EMPTY = Text("The file is empty.", "Файл пуст.")
NOT_A_TABLE = Text(
    "Upload CSV, XLSX, XLS or text with a number in each row.",
    "Загрузите CSV, XLSX, XLS или текст с номером в каждой строке.",
)
TOO_LARGE = Text("The workbook is too large: save it as CSV.", "Книга слишком велика: сохраните её как CSV.")


class FileForm(Struct, frozen=True, kw_only=True):
    """A form with one file."""

    fields: dict[str, str]
    file: BinaryIO
    filename: str


def is_form(request: Request) -> bool:  # type: ignore[type-arg]
    """Whether a body is a form with parts."""
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    return bool(kind == "multipart/form-data")


@asynccontextmanager
async def file_form(request: Request, body: BinaryIO) -> AsyncIterator[FileForm]:  # type: ignore[type-arg]
    """The form in a body. Raises Unprocessable."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    with tempfile.TemporaryFile() as kept:
        yield await asyncio.to_thread(_parsed, body, options.get("boundary", ""), kept)


def _parsed(body: BinaryIO, boundary: str, kept: BinaryIO) -> FileForm:
    fields: dict[str, str] = {}
    filename: str | None = None
    try:
        parser = MultipartParser(body, boundary, part_limit=_MAX_PARTS, memory_limit=_MAX_TEXT + 300_000)
        for part in parser:
            if part.name == FILE and part.filename:
                filename = part.filename
                kept.seek(0)
                kept.truncate()
                while block := part.file.read(1 << 18):
                    kept.write(block)
            elif part.name and not part.filename:
                if part.size > _MAX_TEXT:
                    raise Unprocessable({BODY: [NOT_A_FORM]})
                fields[part.name] = part.value
            part.close()
    except (MultipartError, UnicodeError, ValueError, LookupError):
        raise Unprocessable({BODY: [NOT_A_FORM]}) from None
    if wrong := {name: [invalid(name, "NUL")] for name, value in fields.items() if not storable(value)}:
        raise Unprocessable({name if storable(name) else BODY: texts for name, texts in wrong.items()})
    if filename is None:
        raise Unprocessable({FILE: [required(FILE)]})
    if kept.tell() == 0:
        raise Unprocessable({FILE: [EMPTY]})
    kept.seek(0)
    return FileForm(fields=fields, file=kept, filename=filename)


@asynccontextmanager
async def table_in(file: BinaryIO) -> AsyncIterator[BinaryIO]:
    """An uploaded file as a table of text. Raises Unprocessable, also from what is read of it inside."""
    table = file
    try:
        if is_workbook(file):
            file.seek(0)
            table = await converted(file)
        table.seek(0)
        yield table
    except FileEmpty:
        raise Unprocessable({FILE: [EMPTY]}) from None
    except WorkbookTooLarge:
        raise Unprocessable({FILE: [TOO_LARGE]}) from None
    except (FileIsBinary, WorkbookUnreadable):
        raise Unprocessable({FILE: [NOT_A_TABLE]}) from None
    finally:
        if table is not file:
            table.close()
