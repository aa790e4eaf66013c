"""Who has answered just now? Marks are gathered for a moment, so that one commit serves many callees."""

import asyncio
from datetime import datetime

from zvonar.core.leg import LegId
from zvonar.store import legs
from zvonar.store.db import Database
from zvonar.store.legs import Answered

_GATHER = 0.1  # seconds; nothing waits for a mark but the record of the call's end


class Answers:
    """Tells the store who answered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._gathered: list[Answered] = []
        self._flight: asyncio.Task[None] | None = None

    async def mark(self, account_id: int, leg: LegId, at: datetime) -> None:
        """Returns once it is committed, however long the database is away."""
        self._gathered.append(Answered(account_id=account_id, leg=leg, at=at))
        if self._flight is None:
            self._flight = asyncio.create_task(self._commit(), name="answers")
        # The flight belongs to all whose marks it carries: one whose call is given up must not take it along.
        await asyncio.shield(self._flight)

    async def _commit(self) -> None:
        await asyncio.sleep(_GATHER)
        answered, self._gathered = self._gathered, []
        self._flight = None
        await self._db.patiently(lambda: legs.mark_answered(self._db, answered), what="answered")
