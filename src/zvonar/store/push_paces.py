"""When may a CRM be asked again? One row for each host, which every process changes before it asks."""

import asyncio
from datetime import datetime, timedelta

from msgspec import Struct

from zvonar.store.db import Connection, Database, row

MARGIN = 0.012  # seconds beyond the second: what requests may lose or gain on their way
AHEAD = 0.2  # seconds that a slot may lie ahead

TAKE = """
SELECT slot, granted_at, free_at FROM push_slot(%(origin)s, %(count)s::int, %(ahead)s::float8, %(margin)s::float8)
"""

SENT = "SELECT push_sent(%(origin)s, %(slot)s::timestamptz, %(at)s::timestamptz, %(count)s::int)"

# The CRM wants to be left alone for so many seconds.
HOLD = """
INSERT INTO push_paces AS p (origin, wait_until)
VALUES (%(origin)s, clock_timestamp() + make_interval(secs => %(pause)s::float8))
ON CONFLICT (origin) DO UPDATE SET wait_until = greatest(p.wait_until, excluded.wait_until)
"""

WAITING = "SELECT wait_until FROM push_paces WHERE origin = %(origin)s AND wait_until > clock_timestamp()"

# A person has seen to it: nothing is waited for any more.
FREE = "UPDATE push_paces SET wait_until = '-infinity' WHERE origin = %(origin)s AND wait_until > clock_timestamp()"


class _Taken(Struct, frozen=True, kw_only=True):
    slot: datetime | None
    granted_at: datetime
    free_at: datetime


class Slot(Struct, frozen=True, kw_only=True):
    """One request may leave."""

    origin: str
    count: int  # requests a second
    slot: datetime  # its name, by the database's clock
    granted_at: datetime  # by the same
    asked: float  # loop time at which it was asked for
    leaves: float  # loop time from which on it may leave

    def left(self, loop_time: float) -> datetime:
        """The latest moment, by the database's clock, at which a request that left then can have left."""
        return self.granted_at + timedelta(seconds=loop_time - self.asked)


async def take(connection: Connection, origin: str, *, count: int) -> Slot | float:
    """A slot for the next request, or in how many seconds to ask again."""
    loop = asyncio.get_running_loop()
    asked = loop.time()
    params = {"origin": origin, "count": count, "ahead": AHEAD, "margin": MARGIN}
    taken = await row(connection, _Taken, TAKE, params)
    assert taken is not None
    wait = max(0.0, (taken.free_at - taken.granted_at).total_seconds())
    if taken.slot is None:
        return max(0.005, wait - AHEAD / 2)
    return Slot(
        origin=origin,
        count=count,
        slot=taken.slot,
        granted_at=taken.granted_at,
        asked=asked,
        leaves=loop.time() + wait,
    )


async def sent(db: Database, slot: Slot, *, left: float | None) -> None:
    """The request of this slot left at that loop time, or (None) never will."""
    params = {
        "origin": slot.origin,
        "slot": slot.slot,
        "at": None if left is None else slot.left(left),
        "count": slot.count,
    }
    await db.execute(SENT, params)


async def hold(db: Database, origin: str, *, seconds: float) -> None:
    """Leave this CRM alone for so long."""
    await db.execute(HOLD, {"origin": origin, "pause": seconds})


async def waiting(db: Database, origin: str) -> datetime | None:
    """Until when this CRM is left alone; None where it is not."""
    until = await db.value(WAITING, {"origin": origin})
    assert until is None or isinstance(until, datetime)
    return until


async def free(db: Database, origin: str) -> None:
    """Ask this CRM again at once."""
    await db.execute(FREE, {"origin": origin})
