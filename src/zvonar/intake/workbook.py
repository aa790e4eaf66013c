"""What does somebody's workbook say? XLSX, XLS or ODS become a table of text, in a process of its own.

`python -m zvonar.intake.workbook`, the workbook as standard input and the table as standard output, both files. The
process may use a bounded amount of memory and time, so a workbook that is made to hurt hurts nobody else.
"""

import asyncio
import contextlib
import datetime
import os
import resource
import sys
import tempfile
import zipfile
from typing import BinaryIO

from zvonar.core.errors import Invalid

MAX_UNZIPPED = 400_000_000  # bytes of all parts together; a full sheet of three columns has 150 million
MAX_PARTS = 5000
MAX_CELLS = 256  # of a row; what stands to the right of them is nobody's number, text or label
MAX_WIDE = 50_000_000  # cells of the whole rectangle
MAX_TABLE = 1_000_000_000  # bytes written
_MEMORY = 1_500_000_000  # bytes of address space
_SECONDS = 60  # of processor
_DEADLINE = 120.0  # seconds of waiting, however busy the machine is

_TOO_LARGE, _UNREADABLE = 3, 4  # exit codes
_PIECE = 1 << 20
_CONTROL = dict.fromkeys([*range(32), 127], " ")
_PICTURES = ("/media/", "/embeddings/")

_at_once = asyncio.Semaphore(2)


class WorkbookTooLarge(Invalid):
    """The workbook is too large: save the sheet as CSV."""


class WorkbookUnreadable(Invalid):
    """The workbook cannot be read: save the sheet as CSV."""


async def converted(workbook: BinaryIO) -> BinaryIO:
    """The first visible sheet as a table of text, a line for each of its rows, in a file that is gone when closed.

    Raises WorkbookTooLarge, WorkbookUnreadable.
    """
    table = tempfile.TemporaryFile()  # noqa: SIM115, closed by whoever asked
    try:
        async with _at_once:
            workbook.flush()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "zvonar.intake.workbook"),
                stdin=workbook.fileno(),
                stdout=table.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(_DEADLINE):
                    code = await process.wait()
            except TimeoutError:
                raise WorkbookTooLarge() from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if code == _TOO_LARGE:
            raise WorkbookTooLarge()
        if code != 0:  # also one that ran out of memory or time
            raise WorkbookUnreadable()
        return table
    except BaseException:
        table.close()
        raise


def main() -> None:
    """Convert standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_TABLE, MAX_TABLE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)  # whoever waits for an answer of the service goes first
    try:
        with contextlib.ExitStack() as opened:
            # The parent's own buffer knows where it is, not its descriptor.
            os.lseek(0, 0, os.SEEK_SET)
            source: BinaryIO = opened.enter_context(os.fdopen(0, "rb", closefd=False))
            if source.read(2) == b"PK":
                source = opened.enter_context(_bounded(source))
            source.seek(0)
            with os.fdopen(1, "wb", closefd=False) as table:
                _write(source, table)
    except WorkbookTooLarge:
        sys.exit(_TOO_LARGE)
    except Exception:
        sys.exit(_UNREADABLE)  # the reader has many ways to say so, and the bytes are somebody's


def _bounded(source: BinaryIO) -> BinaryIO:
    """The same archive with nothing packed: what is read next is no larger than what was counted here."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115, closed by the caller's stack
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as plain:
        parts = archive.infolist()
        if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNZIPPED:
            raise WorkbookTooLarge()
        for part in parts:
            if part.is_dir() or any(picture in part.filename for picture in _PICTURES):
                continue
            # A part is read up to the size that its entry declares, and its checksum is compared then.
            with archive.open(part) as packed, plain.open(part.filename, "w", force_zip64=True) as unpacked:
                while piece := packed.read(_PIECE):
                    unpacked.write(piece)
    return copy


def _write(source: BinaryIO, table: BinaryIO) -> None:
    from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    book = CalamineWorkbook.from_filelike(source)
    for sheet in book.sheets_metadata:
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible:
            break
    else:
        raise WorkbookUnreadable()
    cells = book.get_sheet_by_name(sheet.name)
    if cells.start is None or cells.end is None:
        return  # an empty table
    last_row, last_cell = cells.end
    if (last_row + 1) * (last_cell + 1) > MAX_WIDE:
        raise WorkbookTooLarge()
    # Rows come from the sheet's own first one on, but cells only from the first that holds something.
    first_cell = cells.start[1]
    lines: list[str] = []
    width = 0  # of the first row that holds something: a header, or what the others are like
    for row in cells.iter_rows():
        texts = [""] * first_cell + [_text(cell) for cell in row[:MAX_CELLS]]
        filled = len(texts)
        while filled and not texts[filled - 1]:
            filled -= 1
        width = width or filled
        # A cell that was left empty is none that is missing, however far to the right the sheet goes.
        lines.append(",".join(texts[: max(filled, width)]) if filled else "")
        if len(lines) == 1000:
            table.write(("\n".join(lines) + "\n").encode())
            lines.clear()
    table.write("".join(line + "\n" for line in lines).encode())


def _text(cell: object) -> str:
    match cell:
        case str():
            text = cell.translate(_CONTROL).encode("utf-8", "replace").decode()
            # In quotes wherever a reader of tables might take a character for a delimiter.
            return '"' + text.replace('"', '""') + '"' if any(char in text for char in ',;"') else text
        case bool():
            return str(cell).upper()
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))  # a number that was typed without a plus
        case datetime.datetime():
            return cell.isoformat(" ")
        case _:
            return str(cell)


if __name__ == "__main__":
    main()
