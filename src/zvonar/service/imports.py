"""Which rows of a customer's list become calls, and why do the others not? All that are good, in one transaction.

A reason never shows more of a row than its own number as typed, and goes to whoever imports, not to a log.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from zvonar.core.campaign import CallOverrides, CampaignStatus
from zvonar.core.errors import DestinationRefused, PhoneInvalid, SettingsInvalid, ZvonarError
from zvonar.core.phone import Phone, check_destination, parse
from zvonar.core.script import storable
from zvonar.service.sheet import FileEmpty, Row, Sheet, opened
from zvonar.store import accounts, calls, campaigns, labels, trunks
from zvonar.store.calls import CampaignClosed, LabelTaken, NewCall
from zvonar.store.db import Database

MAX_LABEL = 200  # characters, as wherever a label can be given
MAX_EXTRA = 2000
MAX_NAME = 200  # of a phone list
_SHOWN = 40  # characters of a number as typed
_EVERY = 500  # rows between two reports of progress
_TRIES = 5  # loads, should others take labels meanwhile

# What a header may call a column; everything else in a table is left alone.
_COLUMNS = {
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

# reason → what a person is told, in English and in Russian; {line} is the earlier row of a duplicate.
REASONS = {
    "phone_missing": ("There is no number in this row.", "В строке нет номера."),
    "phone_invalid": ("This is not a dialable phone number.", "Это не телефонный номер."),
    "spreadsheet_number": (
        "A spreadsheet has rounded this number: format the column as text and save again.",
        "Таблица округлила номер: задайте столбцу текстовый формат и сохраните заново.",
    ),
    "town_not_connected": (
        "The number belongs to the trial phone network, which is not connected.",
        "Номер из пробной телефонной сети, а она не подключена.",
    ),
    "emergency": ("Emergency numbers are never called.", "Экстренные службы не обзваниваются."),
    "destination_refused": (
        "This destination is closed: premium, satellite, or a country the account does not allow.",
        "Направление закрыто: платное, спутниковое или страна, не разрешённая учётной записи.",
    ),
    "duplicate": ("The same number is in line {line} already.", "Этот номер уже есть в строке {line}."),
    "label_duplicate": ("The same label is in line {line} already.", "Эта метка уже есть в строке {line}."),
    "label_taken": (
        "A call of this campaign has this label already.",
        "Звонок с такой меткой уже есть в кампании.",
    ),
    "label_invalid": (
        f"A label is at most {MAX_LABEL} characters, without NUL.",
        f"Метка не длиннее {MAX_LABEL} знаков и без NUL.",
    ),
    "extra_invalid": (
        f"The extra column holds at most {MAX_EXTRA} characters, without NUL.",
        f"Дополнительное поле не длиннее {MAX_EXTRA} знаков и без NUL.",
    ),
    "text_invalid": (
        "This text cannot be spoken: it is too long, or holds NUL.",
        "Этот текст не произнести: он слишком длинный или содержит NUL.",
    ),
    "half_row": (
        "The row has fewer cells than the header.",
        "В строке меньше ячеек, чем в заголовке.",
    ),
    "too_many_cells": (
        "The row has more cells than the header: put cells with a delimiter inside in quotes.",
        "В строке больше ячеек, чем в заголовке: ячейки с разделителем внутри берутся в кавычки.",
    ),
    "quotes": (
        "A quote does not end in its line, or something follows it.",
        "Кавычка не закрыта в своей строке, или за ней что-то стоит.",
    ),
    "line_too_long": ("The line is too long.", "Строка слишком длинная."),
    "unreadable": (
        "A character cannot be read: save the file as UTF-8.",
        "Знак не читается: сохраните файл в UTF-8.",
    ),
}

Progress = Callable[[int, int], None]  # bytes read, and of how many


class NothingToLoad(ZvonarError):
    """Every row was rejected, so nothing was loaded."""


class LabelsContended(ZvonarError):
    """Others kept taking this list's labels while it was loaded; nothing was loaded, import it again."""


class Terms(Struct, frozen=True, kw_only=True):
    """What a row is measured by."""

    account_id: int
    campaign_id: int
    countries: frozenset[str]  # where the account may call
    country: str  # whose national numbers are understood
    trial: bool  # whether town numbers are numbers


class Rejected(Struct, frozen=True, kw_only=True, gc=False):
    """A row that does not become a call."""

    line: int  # from 1
    reason: str  # a key of REASONS
    value: str  # the number as typed
    earlier: int | None = None  # the line that a duplicate repeats

    def message(self, *, russian: bool) -> str:
        """The reason as a sentence."""
        return REASONS[self.reason][russian].format(line=self.earlier)

    def document(self, *, russian: bool) -> dict[str, Any]:
        """For `--json`."""
        return {
            "line": self.line,
            "reason": self.reason,
            "message": self.message(russian=russian),
            "value": self.value,
        }


class PhoneTable(Struct, kw_only=True):
    """A whole list, read and judged: lines = accepted + rejected + blank + header."""

    accepted: list[NewCall]
    rejected: list[Rejected]
    lines_of: dict[str, int]  # label → line, of accepted rows
    lines: int
    blank: int
    header: list[str]  # names of the columns that were used; empty without a header


async def prepare(db: Database, campaign_id: int) -> Terms:
    """What this campaign's rows are measured by. Raises CampaignNotFound, CampaignClosed."""
    campaign = await campaigns.get_any(db, campaign_id)
    if campaign.status is CampaignStatus.cancelled:
        raise CampaignClosed()
    account = await accounts.get(db, campaign.account_id)
    return Terms(
        account_id=account.account_id,
        campaign_id=campaign_id,
        countries=frozenset(account.countries),
        country=next(iter(account.countries), ""),
        trial=await trunks.has_trial(db),
    )


def read(path: Path, terms: Terms, progress: Progress = lambda done, size: None) -> PhoneTable:
    """Judge every row of a file; about 500 bytes of memory a number.

    Raises FileNotReadable, FileEmpty, FileIsWorkbook, FileIsBinary, and nothing else whatever the bytes.
    """
    with opened(path) as file:
        sheet = Sheet(file)
        judge = _Judge(terms)
        for number, row in enumerate(sheet.rows()):
            if number % _EVERY == 0:
                progress(sheet.position, sheet.size)
            judge.row(row)
        progress(sheet.size, sheet.size)
        if sheet.lines == sheet.blank + bool(judge.header):
            raise FileEmpty()
        return PhoneTable(
            accepted=judge.accepted,
            rejected=judge.rejected,
            lines_of=judge.labels,
            lines=sheet.lines,
            blank=sheet.blank,
            header=judge.header,
        )


async def load(db: Database, terms: Terms, table: PhoneTable, *, name: str, now: datetime) -> int:
    """Make calls of the accepted rows, all of them or none; the id of their phone list.

    Rows whose label the campaign has already move to `rejected` first. Raises NothingToLoad, LabelsContended,
    CampaignNotFound, CampaignClosed, NoMoney.
    """
    for _ in range(_TRIES):
        await _reject_taken_labels(db, terms, table)
        if not table.accepted:
            raise NothingToLoad()
        try:
            return await calls.load(
                db,
                terms.account_id,
                terms.campaign_id,
                table.accepted,
                name="".join(char for char in name if char.isprintable())[:MAX_NAME],
                rejected=len(table.rejected),
                now=now,
            )
        except LabelTaken:
            continue  # taken between the look and the load
    raise LabelsContended()


async def _reject_taken_labels(db: Database, terms: Terms, table: PhoneTable) -> None:
    taken = await labels.taken(db, terms.account_id, terms.campaign_id, list(table.lines_of))
    if not taken:
        return
    for call in table.accepted:
        if call.label in taken:
            line = table.lines_of.pop(call.label)
            table.rejected.append(Rejected(line=line, reason="label_taken", value=call.phone.e164))
    table.accepted = [call for call in table.accepted if call.label not in taken]
    table.rejected.sort(key=lambda row: row.line)


class _Refusal(Exception):
    """Why a row does not become a call."""

    def __init__(self, reason: str, earlier: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.earlier = earlier


class _Judge:
    """Takes rows one by one."""

    def __init__(self, terms: Terms) -> None:
        self.accepted: list[NewCall] = []
        self.rejected: list[Rejected] = []
        self.labels: dict[str, int] = {}
        self.header: list[str] = []
        self._terms = terms
        self._phones: dict[str, int] = {}
        self._columns: dict[str, int] = {"phone": 0}
        self._width: int | None = None  # cells of the header
        self._begun = False

    def row(self, row: Row) -> None:
        if not self._begun:
            self._begun = True
            if row.fault is None and self._take_header(row.cells):
                return
        try:
            self.accepted.append(self._call(row))
        except _Refusal as refusal:
            self.rejected.append(
                Rejected(
                    line=row.line, reason=refusal.reason, value=self._shown(row), earlier=refusal.earlier
                )
            )

    def _take_header(self, cells: list[str]) -> bool:
        """Whether this row names the columns; one of them has to be the number's."""
        columns: dict[str, int] = {}
        names = []
        for position, cell in enumerate(cells):
            column = _COLUMNS.get(" ".join(re.split(r"[\s_.-]+", cell.casefold())).strip())
            if column is not None and column not in columns:
                columns[column] = position
                names.append(cell)
        if "phone" not in columns:
            return False
        self._columns, self._width, self.header = columns, len(cells), names
        return True

    def _shown(self, row: Row) -> str:
        position = self._columns["phone"]
        shown = row.cells[position] if position < len(row.cells) else ""
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
        cells = {name: row.cells[position] or None for name, position in self._columns.items()}
        if any(cell is not None and "\ufffd" in cell for cell in cells.values()):
            raise _Refusal("unreadable")
        typed, label, extra, text = (cells.get(name) for name in ("phone", "label", "extra", "text"))
        phone = self._phone(typed)
        for cell, limit, reason in ((label, MAX_LABEL, "label_invalid"), (extra, MAX_EXTRA, "extra_invalid")):
            if cell is not None and (len(cell) > limit or not storable(cell)):
                raise _Refusal(reason)
        overrides = None
        if text is not None:
            try:
                overrides = CallOverrides(text=text).checked()
            except SettingsInvalid:
                raise _Refusal("text_invalid") from None
        for key, lines, reason in (
            (phone.e164, self._phones, "duplicate"),
            (label, self.labels, "label_duplicate"),
        ):
            if key is not None and key in lines:
                raise _Refusal(reason, lines[key])
        self._phones[phone.e164] = row.line
        if label is not None:
            self.labels[label] = row.line
        return NewCall(phone=phone, label=label, extra=extra, overrides=overrides)

    def _phone(self, typed: str | None) -> Phone:
        if typed is None:
            raise _Refusal("phone_missing")
        try:
            phone = parse(typed, country=self._terms.country, trial=self._terms.trial)
        except PhoneInvalid as exc:
            if _SPREADSHEET.fullmatch(typed):
                raise _Refusal("spreadsheet_number") from None
            raise _Refusal("town_not_connected" if exc.detail else "phone_invalid") from None
        except DestinationRefused:
            raise _Refusal("emergency") from None
        try:
            check_destination(phone, countries=self._terms.countries)
        except DestinationRefused:
            raise _Refusal("destination_refused") from None
        return phone
