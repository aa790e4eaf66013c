"""Which facts of calls are committed together? Those of one moment, for a commit is mostly its beginning and end.

What comes together stays together: legs that were placed at once ring at once, and mostly are answered and end so.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct

from zvonar.core.leg import LegId
from zvonar.dialer.gathering import Gathering
from zvonar.store import legs
from zvonar.store.db import Database
from zvonar.store.legs import Answered, LegEnd, Marked, Placement, Refusal

_MARKS = 0.01  # seconds for which legs that were placed together wait for each other before they ring
_ANSWERS = 0.3  # seconds for which answers are gathered: only calls that are over sooner wait for them
_ENDS = 0.1  # seconds for which ends are: nothing waits for them but the trunk's channel
_ENDS_OF_MANY = 0.2  # seconds beyond that, with so many lines up and channels left
_MANY = 100  # such a number of lines
_WITHOUT_STORE = 10.0  # seconds that a channel waits for the commit that allows its INVITE


class Together(Struct, frozen=True):
    """Legs that were placed by one statement."""

    number: int  # which one it was
    legs: int


_Said = tuple[LegId | Refusal, Together]


class Commits:
    """Facts of the calls of one dialer, on their way to the store under one epoch."""

    def __init__(self, db: Database, *, epoch: int, now: Callable[[], datetime]) -> None:
        self._db = db
        self._epoch = epoch
        self._now = now
        self._numbers = itertools.count(1)
        self.up = 0  # attempts that have a line, or are about to
        self._placements = Gathering[Placement, _Said](self._place, seconds=lambda: 0.0, wishes=True)
        self._marks = Gathering[Marked, bool | None](self._mark, seconds=lambda: _MARKS, wishes=True)
        self._answers = Gathering[Answered, None](self._answer, seconds=lambda: _ANSWERS)
        self._ends = Gathering[LegEnd, None](self._end, seconds=self._patience)
        self._scarce = Gathering[LegEnd, None](self._end, seconds=lambda: _ENDS)

    async def place(self, wanted: Placement) -> _Said:
        """A leg, or why there is none, and with whom it was placed. Raises StoreUnavailable."""
        return await self._placements.add(wanted, key=wanted.in_common)

    async def mark_dialled(self, marked: Marked, together: Together) -> bool | None:
        """As `legs.mark_dialled`; None where the store was away for too long to know."""
        return await self._marks.add(marked, key=together.number, of=together.legs)

    def answered(self, answered: Answered) -> "asyncio.Future[None]":
        """Done once it is committed, for whoever has something else to do meanwhile."""
        return self._answers.put(answered)

    async def end(self, ended: LegEnd, *, scarce: bool = False) -> None:
        """As `legs.end`, however long the store is away. `scarce`: somebody may wait for the channel."""
        await (self._scarce if scarce else self._ends).add(ended, key=ended.account_id)

    def _patience(self) -> float:
        return _ENDS + _ENDS_OF_MANY * min(1.0, self.up / _MANY)

    async def _place(self, wanted: Sequence[Placement]) -> Sequence[_Said]:
        said = await legs.place_all(self._db, wanted, now=self._now())
        together = Together(next(self._numbers), sum(isinstance(one, LegId) for one in said))
        return [(one, together) for one in said]

    async def _mark(self, marked: Sequence[Marked]) -> Sequence[bool | None]:
        try:
            async with asyncio.timeout(_WITHOUT_STORE):
                return await self._db.patiently(
                    lambda: legs.mark_all_dialled(self._db, marked, epoch=self._epoch, now=self._now()),
                    what="dialled",
                )
        except TimeoutError:
            return [None] * len(marked)

    async def _answer(self, answered: Sequence[Answered]) -> Sequence[None]:
        await self._db.patiently(lambda: legs.mark_answered(self._db, answered), what="answered")
        return [None] * len(answered)

    async def _end(self, ended: Sequence[LegEnd]) -> Sequence[None]:
        await self._db.patiently(lambda: legs.end_all(self._db, ended, now=self._now()), what="record")
        return [None] * len(ended)
