"""Which workers are alive? Each holds a lock as long as its connection lives; what a dead one leased is freed.

A lease that only time ends keeps its call waiting for nothing when a worker is killed. PostgreSQL knows of the death
at once, since it ends the session that held the lock.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import LiteralString

import psycopg
import structlog

from zvonar.store.db import Database

log = structlog.get_logger(__name__)

_LOCKS = 1515605071  # the class of advisory locks that workers hold

NUMBER = "SELECT nextval('delivery_worker_ids')"

HOLD: LiteralString = f"SELECT pg_advisory_lock({_LOCKS}, %(worker_id)s)"

# Written once the lock is held, so that whoever is in the table without a lock is dead.
REGISTER = """
INSERT INTO delivery_workers (worker_id, started_at) VALUES (%(worker_id)s, %(now)s)
ON CONFLICT (worker_id) DO UPDATE SET started_at = excluded.started_at
"""

LEAVE = "DELETE FROM delivery_workers WHERE worker_id = %(worker_id)s"

BURY: LiteralString = f"""
DELETE FROM delivery_workers w
WHERE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                  WHERE l.locktype = 'advisory' AND l.classid = {_LOCKS} AND l.objid = w.worker_id::oid
                    AND l.objsubid = 2 AND d.datname = current_database())
RETURNING worker_id
"""

FREE = """
UPDATE deliveries SET leased_by = NULL, leased_until = NULL
WHERE state = 'pending' AND leased_by = ANY(%(workers)s)
"""


class Identity:
    """This worker among all on the database: a number, good as long as one connection lives."""

    def __init__(self, db: Database, *, freed: Callable[[], None], clock: Callable[[], datetime]) -> None:
        self.worker_id = 0  # none yet
        self.known = asyncio.Event()  # set while there is a number
        self._db = db
        self._freed = freed  # told when leases of a dead worker were freed
        self._clock = clock

    async def keep(self, look: float) -> None:
        """For ever: hold a number, and look every `look` seconds who has died. A lost connection is a new number."""
        while True:
            try:
                async with await self._db.connect() as connection:
                    await self._watch(connection, look)
            except psycopg.OperationalError:
                log.warning("delivery.identity_lost")
                await asyncio.sleep(0.5)
            finally:
                self.known.clear()

    async def _watch(self, connection: psycopg.AsyncConnection, look: float) -> None:
        found = await (await connection.execute(NUMBER)).fetchone()
        assert found is not None
        mine = {"worker_id": int(found[0])}
        await connection.execute(HOLD, mine)
        await connection.execute(REGISTER, {**mine, "now": self._clock()})
        self.worker_id = mine["worker_id"]
        self.known.set()
        try:
            while True:
                async with connection.transaction():
                    dead = [row[0] for row in await (await connection.execute(BURY)).fetchall()]
                    freed = (await connection.execute(FREE, {"workers": dead})).rowcount if dead else 0
                if dead:
                    log.warning("delivery.worker_died", workers=len(dead), leases=freed)
                    self._freed()
                await asyncio.sleep(look)
        except asyncio.CancelledError:
            # A courtesy: without it the next one to look finds no lock under this number.
            with contextlib.suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.execute(LEAVE, mine)
            raise
