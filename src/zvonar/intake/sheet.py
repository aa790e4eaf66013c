"""What does somebody's table of text say? Bytes in any usual encoding become rows of cells, a line at a time.

A row is one line, always: a stray quote then spoils its own row instead of swallowing the ones below it.
"""

import codecs
import contextlib
import csv
import io
import os
import re
import stat
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from zvonar.core.errors import Invalid

MAX_LINE = 20_000  # characters; the longest text to speak has 4,000
_CHUNK = 1 << 20  # bytes read at once
_SAMPLE = 50  # rows that tell the delimiter
_DELIMITERS = (";", "\t", ",")  # a list with commas inside its cells is the commonest doubt
_BLANK = " \t\v\f\u00a0\ufeff"  # what may stand around a cell

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"%PDF", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")
_WORKBOOKS = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0")  # XLSX and ODS, an empty archive, XLS
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r"))


class FileNotReadable(Invalid):
    """The file cannot be read: name a file that is there and may be read."""


class FileEmpty(Invalid):
    """The file has no rows."""


class FileIsBinary(Invalid):
    """This is neither a table of text nor a workbook: save it as CSV (UTF-8)."""


class Row(Struct, frozen=True, kw_only=True, gc=False):
    """One line of the file that is not blank."""

    line: int  # from 1
    cells: list[str]  # stripped; what could be read, where there is a fault
    fault: str | None = None  # quotes or line_too_long


class Sheet:
    """An opened table. Rows come once, in order; memory does not grow with the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)  # bytes
        self.encoding = _encoding(file)
        self.delimiter = self._delimiter()
        self._empty = _BLANK + self.delimiter
        self.lines = 0  # read so far, as is `blank`
        self.blank = 0

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return min(self.size, self._file.tell())

    def rows(self) -> Iterator[Row]:
        """Every line with something in it."""
        for text, fault in self._texts():
            self.lines += 1
            if fault is None and not text.strip(_BLANK):
                self.blank += 1
                continue
            cells, wrong = self._cells(text)
            if fault is None and wrong is None and not any(cells):
                self.blank += 1
                continue
            yield Row(line=self.lines, cells=cells, fault=fault or wrong)

    def count(self) -> int:
        """How many lines with something in them there are, whatever it is; quicker than reading rows."""
        with contextlib.closing(self._texts()) as texts:
            return sum(fault is not None or bool(text.strip(self._empty)) for text, fault in texts)

    def _texts(self) -> Generator[tuple[str, str | None], None, None]:
        self._file.seek(0)
        # Universal line ends; a character that cannot be read becomes U+FFFD, for which its row answers.
        text = io.TextIOWrapper(self._file, self.encoding, errors="replace", newline=None)
        try:
            while line := text.readline(MAX_LINE):
                if len(line) < MAX_LINE or line.endswith("\n"):
                    yield line.rstrip("\n"), None
                    continue
                head = line
                while line and not line.endswith("\n"):
                    line = text.readline(MAX_LINE)
                yield head, "line_too_long"
        finally:
            text.detach()

    def _cells(self, text: str) -> tuple[list[str], str | None]:
        if '"' not in text:
            return [cell.strip(_BLANK) for cell in text.split(self.delimiter)], None
        try:
            found = next(csv.reader([text], delimiter=self.delimiter, strict=True, skipinitialspace=True))
        except csv.Error:
            return [cell.strip(_BLANK) for cell in text.split(self.delimiter)], "quotes"
        return [cell.strip(_BLANK) for cell in found], None

    def _delimiter(self) -> str:
        """What stands in most of the first rows, outside quotes."""
        with contextlib.closing(self._texts()) as texts:
            sample = [re.sub(r'"[^"]*"', "", text) for text, _ in islice(texts, _SAMPLE)]
        counts = [sum(delimiter in text for text in sample) for delimiter in _DELIMITERS]
        return _DELIMITERS[counts.index(max(counts))] if any(counts) else ","


def opened(path: Path) -> BinaryIO:
    """The file, open to be read as a Sheet. Raises FileNotReadable."""
    try:
        # Not blocking: a named pipe without a writer would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        raise FileNotReadable(f"{path}: {getattr(exc, 'strerror', None) or exc}.") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotReadable(f"{path} is not a file.")
    return os.fdopen(descriptor, "rb", buffering=_CHUNK)


def is_workbook(file: BinaryIO) -> bool:
    """Whether the file is a spreadsheet's own format."""
    file.seek(0)
    return file.read(8).startswith(_WORKBOOKS)


def _encoding(file: BinaryIO) -> str:
    """By its mark, else UTF-8 where the bytes are mostly that, else cp1251.

    In Russian cp1251 hardly two letters in a row make UTF-8, so the two cannot be taken for each other.
    """
    file.seek(0)
    head = file.read(_CHUNK)
    if not head:
        raise FileEmpty()
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    control = len(head) - len(head.translate(None, _CONTROL))
    # A stray NUL is its row's fault; a file full of them is no text.
    if head.startswith((*_OTHERS, *_WORKBOOKS)) or (control > 8 and control * 20 > len(head)):
        raise FileIsBinary()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    broken = foreign = 0
    chunk = head
    while chunk:
        following = file.read(_CHUNK)
        text = decoder.decode(chunk, final=not following)
        if not text.isascii():
            bad = text.count("\ufffd")
            broken += bad
            foreign += len(text) - len(text.encode("ascii", "ignore")) - bad
        chunk = following
    return "utf-8" if broken * 10 <= foreign else "cp1251"
