"""When may a CRM be asked again? One row for each host, which every process changes before it asks."""

import asyncio
from collections import deque
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from msgspec import Struct

from zvonar.store.db import Connection, Database, row

MARGIN = 0.01  # seconds beyond the second: what requests may lose or gain on their way
AHEAD = 0.2  # seconds that a slot may lie ahead
_EXCHANGES = 20  # readings of the database's clock; some seconds, in which no clock drifts far

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


class _Clocks:
    """How far the database's clock is ahead of the loop's: each answer says that it is between two values, and the last
    ones together say so closely, however slow some of them were.
    """

    def __init__(self) -> None:
        self._bounds: deque[tuple[datetime, datetime]] = deque(maxlen=_EXCHANGES)

    def read(self, moment: datetime, *, asked: float, answered: float) -> None:
        """The database's clock showed this between these two loop times."""
        bounds = moment - timedelta(seconds=answered), moment - timedelta(seconds=asked)
        if self._bounds and not (bounds[0] <= self._latest and self._earliest <= bounds[1]):
            self._bounds.clear()  # a clock was set
        self._bounds.append(bounds)

    @property
    def _earliest(self) -> datetime:
        return max(earliest for earliest, _ in self._bounds)

    @property
    def _latest(self) -> datetime:
        return min(latest for _, latest in self._bounds)

    def loop_time(self, moment: datetime) -> float:
        """A loop time at which the database's clock surely shows this moment, or a later one."""
        return (moment - self._earliest).total_seconds()

    def moment(self, loop_time: float) -> datetime:
        """What the database's clock shows at the latest at this loop time."""
        return self._latest + timedelta(seconds=loop_time)


_clocks: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Clocks]" = WeakKeyDictionary()


class Slot(Struct, frozen=True, kw_only=True):
    """One request may leave."""

    origin: str
    count: int  # requests a second
    slot: datetime  # its name, by the database's clock
    leaves: float  # loop time from which on it may leave

    def left(self, loop_time: float) -> datetime:
        """The latest moment, by the database's clock, at which a request that left then can have left."""
        return _clocks[asyncio.get_running_loop()].moment(loop_time)


async def take(connection: Connection, origin: str, *, count: int) -> Slot | float:
    """A slot for the next request, or in how many seconds to ask again."""
    loop = asyncio.get_running_loop()
    clocks = _clocks.setdefault(loop, _Clocks())
    asked = loop.time()
    params = {"origin": origin, "count": count, "ahead": AHEAD, "margin": MARGIN}
    taken = await row(connection, _Taken, TAKE, params)
    assert taken is not None
    clocks.read(taken.granted_at, asked=asked, answered=loop.time())
    if taken.slot is None:
        wait = (taken.free_at - taken.granted_at).total_seconds()
        return max(0.005, wait - AHEAD / 2)
    return Slot(origin=origin, count=count, slot=taken.slot, leaves=clocks.loop_time(taken.slot))


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
