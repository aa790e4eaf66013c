"""What does somebody who sends a list hear at once? Whether it can be read, how many calls it makes, and its id.

The answer is exact for lists of up to LOOKED_AT rows. Of longer ones every row counts that was not found wrong among
the first; the others are judged when the list is worked off.
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO

import msgspec
from msgspec import Struct

from zvonar.core.campaign import CampaignType
from zvonar.core.errors import Invalid, ZvonarError
from zvonar.intake import reader
from zvonar.intake.judge import Judge, Layout, Terms
from zvonar.intake.sheet import FileEmpty, Sheet, is_workbook
from zvonar.intake.workbook import converted
from zvonar.store import phone_lists, trunks
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database
from zvonar.store.phone_lists import Enqueue, Rejected

MAX_BYTES = 100_000_000  # of a list as it is sent
MAX_ROWS = 3_000_000  # about 300 MB of memory while it is worked off
LOOKED_AT = 1000  # rows
MAX_NAME = 200  # of a list
_CHUNK = 1 << 20  # bytes


class TooManyRows(Invalid):
    """The list has more than 3,000,000 rows: send it in parts."""


class ColumnMissing(Invalid):
    """The list has no such column."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column  # text or label


class NothingToLoad(ZvonarError):
    """Every row was rejected, so nothing was loaded."""

    def __init__(self, rejected: list[Rejected]) -> None:
        super().__init__()
        self.rejected = rejected


class Receipt(Struct, frozen=True, kw_only=True):
    """What is known at once."""

    phone_list_id: int
    calls: int  # as far as it is known
    total: int  # rows with something in them
    header: list[str]  # names of the columns that were used; empty without a header


class _Seen(Struct, frozen=True, kw_only=True):
    judge: Judge
    batch: reader.Batch
    total: int


async def terms_of(db: Database, account: Account, campaign: Campaign) -> Terms:
    """What the rows of this campaign are measured by."""
    return Terms(
        country=next(iter(account.countries), ""),
        trial=await trunks.has_trial(db),
        duplicates=campaign.settings.allow_duplicates,
        speaks=campaign.settings.script is not None or campaign.type is not CampaignType.regular,
    )


async def receive(
    db: Database,
    account: Account,
    campaign: Campaign,
    file: BinaryIO,
    *,
    layout: Layout,
    name: str,
    enqueue: Enqueue | None,
    now: datetime,
) -> Receipt:
    """Keep a list for a campaign; it is in the database when this returns.

    Raises FileEmpty, FileIsBinary, WorkbookTooLarge, WorkbookUnreadable, TooManyRows, ColumnMissing, NothingToLoad.
    """
    terms = await terms_of(db, account, campaign)
    table = await converted(file) if is_workbook(file) else file
    try:
        seen = await asyncio.to_thread(_look, table, terms, layout)
        widest = seen.judge.widest
        for column, position in (("text", layout.text), ("label", layout.label)):
            if position is not None and position >= widest:
                raise ColumnMissing(column)
        judged = await reader.settled(
            db,
            seen.judge,
            seen.batch,
            account_id=account.account_id,
            campaign_id=campaign.campaign_id,
            now=now,
        )
        calls = seen.total - len(judged.rejected)
        if calls == 0:
            raise NothingToLoad(judged.rejected)
        phone_list_id = await phone_lists.accept(
            db,
            account.account_id,
            campaign.campaign_id,
            name="".join(char for char in name if char.isprintable())[:MAX_NAME],
            layout=msgspec.to_builtins(layout),
            total=seen.total,
            chunks=_chunks(table),
            enqueue=enqueue,
            now=now,
        )
    finally:
        if table is not file:
            table.close()
    return Receipt(phone_list_id=phone_list_id, calls=calls, total=seen.total, header=seen.judge.header)


def _look(table: BinaryIO, terms: Terms, layout: Layout) -> _Seen:
    """The first rows, judged by themselves, and how many there are."""
    judge = Judge(terms, layout)
    rows = reader.Reader(Sheet(table), judge)
    batch = rows.batch(LOOKED_AT)
    total = batch.done
    if total == LOOKED_AT:
        total = Sheet(table).count() - bool(judge.header)
    if total == 0:
        raise FileEmpty()
    if total > MAX_ROWS:
        raise TooManyRows()
    return _Seen(judge=judge, batch=batch, total=total)


def _chunks(table: BinaryIO) -> Iterator[bytes]:
    table.seek(0)
    while chunk := table.read(_CHUNK):
        yield chunk
