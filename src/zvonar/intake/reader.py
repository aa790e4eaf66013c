"""How does a table become batches of judged rows? A row at a time, from wherever the last loader stopped."""

from collections.abc import Generator
from datetime import datetime
from itertools import islice

from msgspec import Struct

from zvonar.intake.judge import Candidate, Judge, Judged, labels_of, phones_of
from zvonar.intake.sheet import Row, Sheet
from zvonar.store import labels, stoplist
from zvonar.store.db import Database
from zvonar.store.phone_lists import Rejected


class Batch(Struct, frozen=True, kw_only=True):
    """Some rows in the order of the file, each looked at by itself."""

    looked: list[Candidate | Rejected]
    done: int  # rows of the list up to here


class Reader:
    """The rows of one table, in order and once."""

    def __init__(self, sheet: Sheet, judge: Judge) -> None:
        self._rows = self._without_header(sheet, judge)
        self._judge = judge
        self._done = 0

    def skip(self, rows: int) -> None:
        """Pass rows that were done before."""
        for row in islice(self._rows, rows):
            self._judge.recall(row)
        self._done = rows

    def batch(self, rows: int) -> Batch:
        """The next rows, at most so many; none at the end."""
        looked = [self._judge.look(row) for row in islice(self._rows, rows)]
        self._done += len(looked)
        return Batch(looked=looked, done=self._done)

    def close(self) -> None:
        """Let go of the table, which may be closed after this."""
        self._rows.close()

    @staticmethod
    def _without_header(sheet: Sheet, judge: Judge) -> Generator[Row, None, None]:
        for row in sheet.rows():
            if not judge.is_header(row):
                yield row


async def settled(
    db: Database, judge: Judge, batch: Batch, *, account_id: int, campaign_id: int, now: datetime
) -> Judged:
    """What becomes of a batch beside what the store knows."""
    stopped = await stoplist.stopped(db, account_id, phones_of(batch.looked), now=now)
    taken = await labels.taken(db, account_id, campaign_id, labels_of(batch.looked))
    return judge.settle(batch.looked, stopped=stopped, taken=taken)
