"""How is a list worked off? Batch after batch, each a transaction, from wherever the last loader stopped."""

import asyncio
import tempfile
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import BinaryIO

import structlog
from msgspec import Struct

from zvonar.core.errors import CampaignNotFound, NoMoney
from zvonar.intake.judge import Judge, Layout
from zvonar.intake.reader import Batch, Reader, settled
from zvonar.intake.sheet import FileEmpty, FileIsBinary, Sheet
from zvonar.intake.upload import terms_of
from zvonar.store import accounts, batches, campaigns, phone_lists
from zvonar.store.batches import Overtaken
from zvonar.store.calls import CampaignClosed, LabelTaken
from zvonar.store.db import Database
from zvonar.store.phone_lists import PhoneList

log = structlog.get_logger(__name__)

BATCH = 20_000  # rows of a transaction: half a second of work
MAX_DEATHS = 5  # processes that end without a word over one batch, before the list is given up
_LABELS = 5  # tries of a batch whose labels others take meanwhile

Clock = Callable[[], datetime]
Progress = Callable[[int, int], None]  # rows done, and of how many


class Ended(Enum):
    """How the work on a list came to its end, for now."""

    finished = "finished"  # nothing is left to do, or nothing can be done
    stopped = "stopped"  # asked to; the rest is for the next loader
    overtaken = "overtaken"  # somebody else works on it


class _Refusal(Struct, frozen=True, kw_only=True):
    kinds: tuple[type[Exception], ...]
    word: str


# What makes a list fail, and the word that its row keeps.
_REFUSALS = (
    _Refusal(kinds=(CampaignNotFound,), word="campaign_missing"),
    _Refusal(kinds=(CampaignClosed,), word="campaign_closed"),
    _Refusal(kinds=(NoMoney,), word="no_money"),
    _Refusal(kinds=(FileEmpty, FileIsBinary), word="unreadable"),
    _Refusal(kinds=(LabelTaken,), word="labels_contended"),
)


async def work(
    db: Database,
    account_id: int,
    phone_list_id: int,
    *,
    stop: asyncio.Event,
    clock: Clock,
    progress: Progress = lambda done, total: None,
    rows: int = BATCH,
) -> Ended:
    """Make calls of what is left of a list. `stop` is looked at between two batches."""
    phone_list = await phone_lists.begin(db, account_id, phone_list_id, now=clock())
    if phone_list is None:
        return Ended.finished
    if phone_list.deaths >= MAX_DEATHS:
        await _give_up(db, phone_list, "given_up", clock)
        return Ended.finished
    try:
        with tempfile.TemporaryFile() as file:
            async for chunk in phone_lists.content(db, phone_list):
                file.write(chunk)
            await _batches(db, phone_list, file, stop, clock, progress, rows)
    except Overtaken:
        return Ended.overtaken
    except tuple(kind for refusal in _REFUSALS for kind in refusal.kinds) as exc:
        word = next(refusal.word for refusal in _REFUSALS if isinstance(exc, refusal.kinds))
        await _give_up(db, phone_list, word, clock)
        return Ended.finished
    except _Stopped:
        return Ended.stopped
    await phone_lists.finish(db, phone_list, now=clock())
    return Ended.finished


class _Stopped(Exception):
    """The work goes on elsewhere, later."""


async def _batches(
    db: Database,
    phone_list: PhoneList,
    file: BinaryIO,
    stop: asyncio.Event,
    clock: Clock,
    progress: Progress,
    rows: int,
) -> None:
    assert phone_list.campaign_id is not None
    campaign = await campaigns.get(db, phone_list.account_id, phone_list.campaign_id)
    account = await accounts.get(db, phone_list.account_id)
    judge = Judge(await terms_of(db, account, campaign), phone_lists.layout_of(phone_list, Layout))
    if phone_list.done:
        # Whoever died may have added calls and not have woken up their campaign.
        await batches.wake(db, phone_list, now=clock())
    reader = await asyncio.to_thread(_opened, file, judge, phone_list.done)
    progress(phone_list.done, phone_list.total)
    after = phone_list.done
    # The next batch is read while the database takes this one.
    reading = asyncio.create_task(asyncio.to_thread(reader.batch, rows))
    try:
        while (batch := await reading).looked:
            if stop.is_set():
                raise _Stopped
            reading = asyncio.create_task(asyncio.to_thread(reader.batch, rows))
            await _load(db, phone_list, judge, batch, after, clock)
            after = batch.done
            progress(after, max(phone_list.total, after))
    finally:
        # A thread cannot be cancelled, and reads from a file that is about to be closed.
        await asyncio.wait((reading,))
        if not reading.cancelled():
            reading.exception()
        reader.close()


def _opened(file: BinaryIO, judge: Judge, done: int) -> Reader:
    reader = Reader(Sheet(file), judge)
    reader.skip(done)
    return reader


async def _load(
    db: Database, phone_list: PhoneList, judge: Judge, batch: Batch, after: int, clock: Clock
) -> None:
    assert phone_list.campaign_id is not None
    for attempt in range(_LABELS):
        now = clock()
        judged = await settled(
            db,
            judge,
            batch,
            account_id=phone_list.account_id,
            campaign_id=phone_list.campaign_id,
            now=now,
        )
        try:
            await batches.load_batch(
                db, phone_list, judged.accepted, judged.rejected, after=after, done=batch.done, now=now
            )
            break
        except LabelTaken:  # between the look and the load
            if attempt == _LABELS - 1:
                raise
    if judged.accepted:
        await batches.wake(db, phone_list, now=now)


async def _give_up(db: Database, phone_list: PhoneList, word: str, clock: Clock) -> None:
    log.error("phone_list.failed", phone_list=phone_list.phone_list_id, error=word)
    await phone_lists.finish(db, phone_list, error=word, now=clock())
