"""Which rows of somebody's table are people, and what is known of each? For lists of contacts and for stop lists.

A header names the columns; without one the number comes first and a label second.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import BinaryIO

from msgspec import Struct

from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.core.phone import Phone, parse
from zvonar.core.script import storable
from zvonar.intake.judge import COLUMNS
from zvonar.intake.sheet import Row, Sheet
from zvonar.store.phone_lists import Rejected

_SHOWN = 40  # characters of a number as typed
_MORE = {
    **dict.fromkeys(("timezone", "time zone", "tz", "часовой пояс"), "timezone"),
    **dict.fromkeys(("reason", "причина"), "reason"),
    **dict.fromkeys(("until", "до", "действует до"), "until"),
}
_VARIABLE = re.compile(r"\w{1,64}")


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """A row with a number."""

    line: int
    phone: Phone
    known: Mapping[str, str]  # extra, timezone, reason, until: what its columns say of it
    variables: Mapping[str, str]  # by the header's own words


class Table:
    """The rows of one table, in order and once."""

    def __init__(self, file: BinaryIO, *, country: str, trial: bool) -> None:
        """`country`: whose national numbers are understood. `trial`: whether town numbers are numbers."""
        self._rows = Sheet(file).rows()
        self._country = country
        self._trial = trial
        self._columns: dict[str, int] = {"phone": 0, "extra": 1}
        self._variables: dict[str, int] = {}
        self._begun = False

    def batch(self, rows: int) -> list[Entry | Rejected]:
        """The next rows, at most so many; none at the end."""
        return [self._look(row) for row in islice(self._people(), rows)]

    def _people(self) -> Iterator[Row]:
        for row in self._rows:
            if not self._begun:
                self._begun = True
                if self._is_header(row):
                    continue
            yield row

    def _is_header(self, row: Row) -> bool:
        if row.fault is not None:
            return False
        known = {**COLUMNS, **_MORE}
        columns: dict[str, int] = {}
        variables: dict[str, int] = {}
        for position, cell in enumerate(row.cells):
            words = " ".join(re.split(r"[\s_.-]+", cell.casefold())).strip()
            column = known.get(words)
            if column is not None:
                columns.setdefault(column, position)
            name = words.replace(" ", "_")
            if column not in ("phone", "timezone") and _VARIABLE.fullmatch(name):
                variables.setdefault(name, position)
        if "phone" not in columns:
            return False
        self._columns, self._variables = columns, variables
        return True

    def _look(self, row: Row) -> Entry | Rejected:
        typed = _cell(row.cells, self._columns["phone"])
        if row.fault is not None:
            return _rejected(row, row.fault, typed)
        if any("\ufffd" in cell or not storable(cell) for cell in row.cells):
            return _rejected(row, "unreadable", typed)
        if not typed:
            return _rejected(row, "phone_missing", typed)
        try:
            phone = parse(typed, country=self._country, trial=self._trial)
        except PhoneInvalid as exc:
            return _rejected(row, "town_not_connected" if exc.detail else "phone_invalid", typed)
        except DestinationRefused:
            return _rejected(row, "emergency", typed)
        return Entry(
            line=row.line,
            phone=phone,
            known=_filled(row.cells, self._columns),
            variables=_filled(row.cells, self._variables),
        )


def rejected(entry: Entry, reason: str) -> Rejected:
    """A row that was good so far."""
    return Rejected(line=entry.line, reason=reason, value=entry.phone.e164)


def _rejected(row: Row, reason: str, typed: str) -> Rejected:
    # Control characters of a file are no business of a terminal.
    shown = "".join(char if char.isprintable() else "\ufffd" for char in typed[:_SHOWN])
    return Rejected(line=row.line, reason=reason, value=shown)


def _cell(cells: Sequence[str], position: int) -> str:
    return cells[position] if position < len(cells) else ""


def _filled(cells: Sequence[str], columns: Mapping[str, int]) -> dict[str, str]:
    return {name: cell for name, position in columns.items() if (cell := _cell(cells, position))}
