"""Whom does an account never call? Its own stop list: read, added to, imported, exported."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from litestar.response import Stream
from msgspec import Meta, Struct

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.dialects.autocall import errors
from zvonar.dialects.autocall.answers import local_time
from zvonar.dialects.autocall.errors import Unprocessable, required
from zvonar.dialects.autocall.limits import MAX_INLINE, MAX_LIST
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.dates import day_ends, moment
from zvonar.dialects.autocall.requests.fields import Moment, Number, PageQuery
from zvonar.dialects.autocall.requests.forms import file_form, is_form, table_in
from zvonar.dialects.autocall.requests.people import BAD_NUMBER, TOO_MANY, Terms
from zvonar.dialects.autocall.routes.common import paged, terms_of
from zvonar.dialects.autocall.routes.lists import Rejected, told
from zvonar.dialects.autocall.words import Text
from zvonar.intake import table
from zvonar.intake.table import Entry, Table
from zvonar.store import stoplist
from zvonar.store.phone_lists import Rejected as RejectedRow
from zvonar.store.stoplist import NewStop, Stopped

TAG = "stop list"
MAX_REASON: Final = 500
_ROWS: Final = 2000
_TOLD: Final = 100  # rejected rows of an import that its answer names
_HEADER = ("number", "reason", "until")

Reason = Annotated[str, Meta(max_length=MAX_REASON, examples=["asked not to be called"])]


class StoppedNumber(Struct, frozen=True, kw_only=True):
    """A number that is not called."""

    number: str  # E.164 with the plus
    reason: str | None
    until: str | None  # null is for good
    created_at: str


class NewStops(Struct, frozen=True, kw_only=True):
    """Numbers to be stopped."""

    numbers: Annotated[list[Number], Meta(min_length=1, max_length=10_000)]
    reason: Reason | None = None
    until: Moment | None = None  # in the account's time zone; for good unless given


class Imported(Struct, frozen=True, kw_only=True):
    """What became of an import."""

    added: int
    rejected_count: int
    rejected: list[Rejected]  # the first hundred


class StopQuery(PageQuery, frozen=True, kw_only=True):
    """Which numbers."""

    all: bool = False  # also those whose time has run out


async def index(asked: Asked) -> Page[StoppedNumber]:
    """Stopped numbers, by number."""
    query: StopQuery = asked.query
    found, total = await stoplist.page(
        asked.db, asked.account_id, all=query.all, number=query.page, size=query.per_page, now=asked.now
    )
    return paged(asked, [_stopped(one, asked.zone) for one in found], total)


async def add(asked: Asked) -> Imported:
    """Stop some numbers."""
    wanted: NewStops = asked.body
    until = moment(wanted.until, asked.zone, "until")
    terms = await terms_of(asked)
    wrong: dict[str, list[Text]] = {}
    new: list[NewStop] = []
    for at, written in enumerate(wanted.numbers):
        try:
            new.append(NewStop(phone=_e164(written, terms), reason=wanted.reason, until=until))
        except (PhoneInvalid, DestinationRefused):
            wrong[f"numbers.{at}"] = [BAD_NUMBER]
    if wrong:
        raise Unprocessable(wrong)
    await stoplist.put_many(asked.db, asked.account_id, new, now=asked.now)
    return Imported(added=len(new), rejected_count=0, rejected=[])


async def import_(asked: Asked) -> Imported:
    """Stop the numbers of a file."""
    if not is_form(asked.request):
        raise Unprocessable({"file": [required("file")]})
    terms = await terms_of(asked)
    added = bad = 0
    first: list[RejectedRow] = []
    async with file_form(asked.request, asked.file) as form, table_in(form.file) as opened:
        rows = await asyncio.to_thread(
            Table, opened, country=next(iter(terms.countries), ""), trial=terms.trial
        )
        while looked := await asyncio.to_thread(rows.batch, _ROWS):
            new, rejected = _judged(looked, asked.zone)
            await stoplist.put_many(asked.db, asked.account_id, new, now=asked.now)
            added += len(new)
            bad += len(rejected)
            first += rejected[: _TOLD - len(first)]
            if added + bad > MAX_INLINE:
                raise Unprocessable({"file": [TOO_MANY]})
    return Imported(added=added, rejected_count=bad, rejected=told(asked, first))


async def export(asked: Asked) -> Stream:
    """The whole list as CSV, as it can be imported again."""
    headers = {"content-disposition": 'attachment; filename="stop-list.csv"'}
    return Stream(_rows(asked), media_type="text/csv", headers=headers)


async def show(asked: Asked) -> StoppedNumber:
    """What the list says of a number."""
    found = await stoplist.get(asked.db, asked.account_id, await _named(asked))
    if found is None:
        raise errors.missing()
    return _stopped(found, asked.zone)


async def delete(asked: Asked) -> None:
    """Let a number be called again."""
    if not await stoplist.delete(asked.db, asked.account_id, await _named(asked)):
        raise errors.missing()


async def _named(asked: Asked) -> str:
    try:
        return _e164(asked.text("number"), await terms_of(asked))
    except (PhoneInvalid, DestinationRefused):
        raise errors.missing() from None


def _e164(written: str, terms: Terms) -> str:
    return phones.parse(written, country=next(iter(terms.countries), ""), trial=terms.trial).e164


def _judged(looked: Sequence[Entry | RejectedRow], zone: ZoneInfo) -> tuple[list[NewStop], list[RejectedRow]]:
    new: list[NewStop] = []
    bad: list[RejectedRow] = []
    for row in looked:
        if isinstance(row, RejectedRow):
            bad.append(row)
            continue
        reason = row.known.get("reason") or row.known.get("extra")
        try:
            until = _until(row.known.get("until"), zone)
        except Unprocessable:
            bad.append(table.rejected(row, "until_invalid"))
            continue
        new.append(NewStop(phone=row.phone.e164, reason=reason and reason[:MAX_REASON], until=until))
    return new, bad


def _until(text: str | None, zone: ZoneInfo) -> datetime | None:
    if text is not None and len(text) <= len("2026-12-31"):
        return day_ends(text, zone, "until")
    return moment(text, zone, "until")


async def _rows(asked: Asked) -> AsyncIterator[bytes]:
    yield _csv([_HEADER])
    async for found in stoplist.each(asked.service.db, asked.account_id):
        yield _csv(
            [
                (one.phone, one.reason or "", local_time(one.until, asked.zone) if one.until else "")
                for one in found
            ]
        )


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_plain(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def _plain(cell: str) -> str:
    # What a spreadsheet would take for a formula; a number with its plus is none.
    return f"'{cell}" if cell[:1] in ("=", "@", "-") or (cell[:1] == "+" and not cell[1:].isdigit()) else cell


def _stopped(one: Stopped, zone: ZoneInfo) -> StoppedNumber:
    return StoppedNumber(
        number=one.phone,
        reason=one.reason,
        until=local_time(one.until, zone) if one.until else None,
        created_at=local_time(one.created_at, zone),
    )


_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "CSV, XLSX, XLS or text. A header names the columns phone, reason and until; without "
            "one the number comes first.",
        }
    },
}
_ONE = {"number": "+70001239999"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/stop-list",
        tag=TAG,
        name="listStopped",
        summary="List stopped numbers",
        handle=index,
        query=StopQuery,
        answer=Page[StoppedNumber],
        examples=(Example(name="all", query={"all": "true"}),),
    ),
    Operation(
        method="POST",
        path="/stop-list",
        tag=TAG,
        name="stopNumbers",
        summary="Stop numbers",
        about="They are not called by any autocall of the account. A number that is on the list is changed.",
        handle=add,
        status=201,
        body=NewStops,
        answer=Imported,
        examples=(
            Example(
                name="for a while",
                body={"numbers": ["+70001239998"], "reason": "on holiday", "until": "2026-12-31 23:59:59"},
            ),
            Example(name="for good", body={"numbers": ["+70001239999", "+70001239997"]}),
        ),
    ),
    Operation(
        method="POST",
        path="/stop-list/import",
        tag=TAG,
        name="importStopList",
        summary="Stop the numbers of a file",
        handle=import_,
        forms={"multipart/form-data": _FORM},
        answer=Imported,
        longest=MAX_LIST,
    ),
    Operation(
        method="GET",
        path="/stop-list/export",
        tag=TAG,
        name="exportStopList",
        summary="Export the stop list",
        handle=export,
        content_type="text/csv",
        examples=(Example(name="whole"),),
    ),
    Operation(
        method="GET",
        path="/stop-list/{number}",
        tag=TAG,
        name="getStopped",
        summary="Look a number up",
        handle=show,
        answer=StoppedNumber,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="DELETE",
        path="/stop-list/{number}",
        tag=TAG,
        name="unstopNumber",
        summary="Let a number be called again",
        handle=delete,
        status=204,
        examples=(Example(name="one", path=_ONE),),
    ),
)
