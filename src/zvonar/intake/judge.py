"""Which rows of a customer's list become calls, and why do the others not?

In two steps: what a row says by itself, then what it is beside the others, the stop lists and the campaign's labels.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from zvonar.core.campaign import CallOverrides
from zvonar.core.errors import DestinationRefused, PhoneInvalid, SettingsInvalid
from zvonar.core.phone import Phone, parse
from zvonar.core.script import storable
from zvonar.intake.reasons import MAX_EXTRA, MAX_LABEL
from zvonar.intake.sheet import Row
from zvonar.store.calls import NewCall
from zvonar.store.phone_lists import Rejected

_SHOWN = 40  # characters of a number as typed

# What a header may call a column; everything else in a table is left alone.
COLUMNS = {
    **dict.fromkeys(
        (
            *("phone", "phone number", "phonenumber", "telephone", "tel", "mobile", "msisdn", "number"),
            *("телефон", "номер телефона", "номер", "тел", "мобильный", "мобильный телефон"),
        ),
        "phone",
    ),
    **dict.fromkeys(("label", "id", "external id", "метка", "идентификатор"), "label"),
    **dict.fromkeys(("extra", "name", "comment", "имя", "фио", "комментарий"), "extra"),
    **dict.fromkeys(("text", "message", "текст", "сообщение"), "text"),
}
_SPREADSHEET = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+", re.ASCII)
_WORD = re.compile(r"\w+")  # the reference: what a label is made of


class Layout(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which column holds what."""

    named: bool = False  # a header names the columns; otherwise the number is in column 0
    text: int | None = None  # column from 0
    label: int | None = None  # column from 0


class Terms(Struct, frozen=True, kw_only=True):
    """What a row is measured by."""

    country: str  # whose national numbers are understood
    trial: bool  # whether town numbers are numbers
    duplicates: bool  # whether one number may stand in several rows
    speaks: bool  # whether the campaign says something where the row does not


class Candidate(Struct, frozen=True, kw_only=True, gc=False):
    """A row that is a call by itself."""

    line: int
    value: str  # the number as typed
    call: NewCall


class Judged(Struct, frozen=True, kw_only=True):
    """What became of some rows."""

    accepted: list[NewCall]
    rejected: list[Rejected]  # in the order of their lines


class _Refusal(Exception):
    """Why a row does not become a call."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Judge:
    """Takes the rows of one list, in order. It remembers each number: about 100 bytes a number."""

    def __init__(self, terms: Terms, layout: Layout) -> None:
        self.header: list[str] = []  # names of the columns that were used
        self.widest = 0  # cells of the widest row so far
        self._terms = terms
        self._named = layout.named
        self._columns: dict[str, int] = {"phone": 0}
        if layout.text is not None:
            self._columns["text"] = layout.text
        if layout.label is not None:
            self._columns["label"] = layout.label
        self._lines: dict[int, int] = {}  # digits of a number → its line
        self._width: int | None = None  # cells of the header
        self._begun = False

    def is_header(self, row: Row) -> bool:
        """Whether this row, the first one, names the columns instead of being one."""
        if self._begun:
            return False
        self._begun = True
        if row.fault is not None:
            return False
        found: dict[str, int] = {}
        names = []
        for position, cell in enumerate(row.cells if self._named else row.cells[:1]):
            column = COLUMNS.get(" ".join(re.split(r"[\s_.-]+", cell.casefold())).strip())
            if column is not None and column not in found:
                found[column] = position
                names.append(cell)
        if "phone" not in found:
            return False
        self.header = names
        self.widest = len(row.cells)
        if self._named:
            self._columns, self._width = found, len(row.cells)
        return True

    def look(self, row: Row) -> Candidate | Rejected:
        """What a row is by itself."""
        if len(row.cells) > self.widest:
            self.widest = len(row.cells)
        try:
            call = self._call(row)
        except _Refusal as refusal:
            return Rejected(line=row.line, reason=refusal.reason, value=self._shown(row))
        return Candidate(line=row.line, value=row.cells[self._columns["phone"]], call=call)

    def recall(self, row: Row) -> None:
        """Remember the number of a row that was settled when somebody else was working on this list."""
        found = self.look(row)
        if isinstance(found, Candidate):
            self._earlier(found)

    def settle(
        self, looked: Iterable[Candidate | Rejected], *, stopped: Collection[str], taken: Collection[str]
    ) -> Judged:
        """What becomes of rows, given which of their numbers are stopped and which of their labels are taken.

        The same rows may be settled again.
        """
        accepted: list[NewCall] = []
        rejected: list[Rejected] = []
        labels: dict[str, int] = {}
        for row in looked:
            if isinstance(row, Rejected):
                rejected.append(row)
                continue
            label = row.call.label
            reason = None
            earlier = self._earlier(row)
            if earlier is not None:
                reason = "duplicate"
            elif row.call.phone.e164 in stopped:
                reason = "stopped"
            elif label is not None and label in taken:
                reason = "label_taken"
            elif label is not None and label in labels:
                reason, earlier = "label_duplicate", labels[label]
            if reason is not None:
                rejected.append(
                    Rejected(line=row.line, reason=reason, value=self._printable(row.value), earlier=earlier)
                )
                continue
            if label is not None:
                labels[label] = row.line
            accepted.append(row.call)
        return Judged(accepted=accepted, rejected=rejected)

    def _earlier(self, row: Candidate) -> int | None:
        """The line in which the list has the same number already."""
        if self._terms.duplicates:
            return None
        first = self._lines.setdefault(int(row.call.phone.e164[1:]), row.line)
        return first if first != row.line else None

    def _shown(self, row: Row) -> str:
        position = self._columns["phone"]
        return self._printable(row.cells[position] if position < len(row.cells) else "")

    def _printable(self, shown: str) -> str:
        # Control characters of a file are no business of a terminal.
        return "".join(char if char.isprintable() else "\ufffd" for char in shown[:_SHOWN])

    def _call(self, row: Row) -> NewCall:
        if row.fault is not None:
            raise _Refusal(row.fault)
        if self._width is not None:
            if len(row.cells) < self._width:
                raise _Refusal("half_row")
            if any(row.cells[self._width :]):
                raise _Refusal("too_many_cells")
        if len(self._columns) == 1:  # nothing but numbers, as most lists
            if not self._terms.speaks:
                raise _Refusal("text_missing")
            return NewCall(phone=self._phone(row.cells[self._columns["phone"]] or None))
        cells = {
            name: row.cells[position] or None
            for name, position in self._columns.items()
            if position < len(row.cells)
        }
        if any(cell is not None and "\ufffd" in cell for cell in cells.values()):
            raise _Refusal("unreadable")
        typed, label, extra, text = (cells.get(name) for name in ("phone", "label", "extra", "text"))
        phone = self._phone(typed)
        if label is not None:
            self._check(label, MAX_LABEL, "label_invalid")
            if not self._named and not _WORD.fullmatch(label):
                raise _Refusal("label_invalid")
        if extra is not None:
            self._check(extra, MAX_EXTRA, "extra_invalid")
        overrides = None
        if text is not None:
            try:
                overrides = CallOverrides(text=text).checked()
            except SettingsInvalid:
                raise _Refusal("text_invalid") from None
        elif not self._terms.speaks:
            raise _Refusal("text_missing")
        return NewCall(phone=phone, label=label, extra=extra, overrides=overrides)

    def _check(self, cell: str, limit: int, reason: str) -> None:
        if len(cell) > limit or not storable(cell):
            raise _Refusal(reason)

    def _phone(self, typed: str | None) -> Phone:
        if typed is None:
            raise _Refusal("phone_missing")
        try:
            return parse(typed, country=self._terms.country, trial=self._terms.trial)
        except PhoneInvalid as exc:
            if "\ufffd" in typed:
                raise _Refusal("unreadable") from None
            if _SPREADSHEET.fullmatch(typed):
                raise _Refusal("spreadsheet_number") from None
            raise _Refusal("town_not_connected" if exc.detail else "phone_invalid") from None
        except DestinationRefused:
            raise _Refusal("emergency") from None


def labels_of(looked: Sequence[Candidate | Rejected]) -> list[str]:
    """The labels that rows would like to have."""
    return [row.call.label for row in looked if isinstance(row, Candidate) and row.call.label is not None]


def phones_of(looked: Sequence[Candidate | Rejected]) -> list[str]:
    """The numbers that rows are about, in E.164."""
    return [row.call.phone.e164 for row in looked if isinstance(row, Candidate)]
