"""Which delivery may go next? A lane for each address, and two pools of places for all of them.

An address that answers quickly may use every place; those that are unknown, slow or failing share half of the places
among themselves, so that none of them delays one that answers. Nothing here waits or sends.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from zvonar.store.deliveries import Delivery

_FIRST = 4  # tries at once to an address that is not known yet
_AHEAD = 0.5  # seconds of work in hand for an address that answers quickly, so that it never waits for the database
_DEPTH = 32  # deliveries in hand for each that is being tried, at most
_FEW = 4  # deliveries in hand for one that fails, but quickly
_SLOW_HAND = 8  # deliveries in hand for each place of those that are not quick
_SLOW = 1.0  # seconds after which an answer is not quick
_BUSY = 5.0  # seconds for which an address to which something went is busy
_REMEMBERED = 10_000  # addresses


class Limits(Struct, frozen=True, kw_only=True):
    """How much of one process deliveries may take."""

    total: int = 256  # tries at once
    per_address: int = 16  # of these to one address; one that fails gets a single one until it recovers
    lease: float = (
        30.0  # seconds that a delivery is ours: half of them to begin, half for the try and its settling
    )
    poll: float = 1.0  # seconds between looks without a ring: a retry is due, or another worker has died
    drain: float = 12.0  # seconds for what is in flight at a stop

    @property
    def slow(self) -> int:
        """Places of all addresses that are not quick."""
        return max(1, self.total // 2)


class Leased(Struct, frozen=True, kw_only=True):
    """A delivery in hand."""

    delivery: Delivery
    worker_id: int
    until: datetime  # the end of the lease, and its name
    start_by: datetime  # later there is no time left for a try


class Lane:
    """One address."""

    __slots__ = ("address", "cap", "pace", "quick", "started", "used", "waiting")

    def __init__(self, address: str, cap: int) -> None:
        self.address = address
        self.cap = cap  # tries at once
        self.pace = _SLOW  # seconds that its answers lately took
        self.quick = False  # whether its last answer was a good and quick one
        self.used = 0.0  # when something for it was last leased
        self.waiting: deque[Leased] = deque()
        self.started: dict[int, float] = {}  # what is being tried, since when; oldest first


class Lanes:
    """All addresses that this process deals with."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._trying = {True: 0, False: 0}  # by whether the lane is quick
        self._waiting = {True: 0, False: 0}
        self._blocked: dict[bool, OrderedDict[str, Lane]] = {True: OrderedDict(), False: OrderedDict()}
        self.stale: list[Leased] = []  # waited too long in hand; to be given back

    @property
    def trying(self) -> int:
        """Tries under way."""
        return self._trying[True] + self._trying[False]

    # What to lease.

    def quick_rooms(self, *, busy: bool, clock: float) -> tuple[dict[str, int], int]:
        """The quick addresses that may get more into our hands, and how many in all: of the busy ones, to which
        something went lately and which may be asked for at every ring, or of the others.
        """
        limit = self._limits.total * _DEPTH - self._waiting[True]
        if limit <= 0:
            return {}, 0
        rooms = {
            lane.address: self._room(lane)
            for lane in self._lanes.values()
            if lane.quick and (clock - lane.used < _BUSY) is busy
        }
        return {address: room for address, room in rooms.items() if room > 0}, limit

    def other_rooms(self) -> tuple[dict[str, int], int, int]:
        """The room of each known address, none for quick ones; that of an unknown one; how many in all."""
        limit = self._limits.slow * _SLOW_HAND - self._waiting[False] - self._trying[False]
        rooms = {lane.address: 0 if lane.quick else self._room(lane) for lane in self._lanes.values()}
        return rooms, self._first(), max(0, limit)

    def _room(self, lane: Lane) -> int:
        if lane.waiting and not lane.quick:
            return 0  # a look at it can wait until its few are gone
        if lane.quick:
            ahead = lane.cap * min(_DEPTH, int(_AHEAD / max(lane.pace, 0.001)))
        else:
            ahead = (
                _FEW if lane.pace < _SLOW else 0
            )  # whoever does not answer holds up what is in hand for it
        depth = lane.cap + ahead
        return max(0, depth - len(lane.waiting) - len(lane.started))

    def _first(self) -> int:
        return min(_FIRST, self._limits.per_address)

    # What to try.

    def put(self, leased: Iterable[Leased], *, at: datetime, clock: float) -> list[Leased]:
        """Take these in hand; what is to be tried now."""
        start: list[Leased] = []
        touched: dict[str, Lane] = {}
        for one in leased:
            address = one.delivery.address
            lane = self._lanes.get(address)
            if lane is None:
                lane = self._lanes[address] = Lane(address, self._first())
                self._forget()
            lane.used = clock
            lane.waiting.append(one)
            self._waiting[lane.quick] += 1
            touched[address] = lane
        for lane in touched.values():
            self._go(lane, at, clock, start)
        return start

    def done(self, leased: Leased, *, taken: bool, at: datetime, clock: float) -> list[Leased]:
        """A try has ended; what is to be tried now."""
        start: list[Leased] = []
        lane = self._lanes[leased.delivery.address]
        began = lane.started.pop(leased.delivery.delivery_id)
        self._trying[lane.quick] -= 1
        if taken:
            lane.cap = min(lane.cap * 2, self._limits.per_address)
        else:
            lane.cap = 1  # after an outage the backlog of an address must not be what fells it again
        lane.pace += (clock - began - lane.pace) / 2
        self._judge(lane, quick=taken and clock - began < _SLOW)
        self._go(lane, at, clock, start)
        self._unblock(at, clock, start)
        return start

    def look(self, *, at: datetime, clock: float) -> list[Leased]:
        """Addresses whose answers do not come are quick no longer; what is to be tried now."""
        start: list[Leased] = []
        for lane in self._lanes.values():
            if lane.quick and lane.started and clock - next(iter(lane.started.values())) >= _SLOW:
                self._judge(lane, quick=False)
        self._unblock(at, clock, start)
        return start

    def give_up(self) -> list[Leased]:
        """Everything in hand that is not being tried; nothing is started after this."""
        rest = [one for lane in self._lanes.values() for one in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._waiting = {True: 0, False: 0}
        for blocked in self._blocked.values():
            blocked.clear()
        return rest

    def _judge(self, lane: Lane, *, quick: bool) -> None:
        if lane.quick is quick:
            return
        self._blocked[lane.quick].pop(lane.address, None)
        while not quick and len(lane.waiting) > _FEW:  # in hand for a pace that it no longer keeps
            self.stale.append(lane.waiting.pop())
            self._waiting[True] -= 1
        for count, of_lane in ((self._trying, len(lane.started)), (self._waiting, len(lane.waiting))):
            count[lane.quick] -= of_lane
            count[quick] += of_lane
        lane.quick = quick
        if lane.waiting:
            self._blocked[quick][lane.address] = lane

    def _go(self, lane: Lane, at: datetime, clock: float, start: list[Leased]) -> None:
        # Whoever waits for a place of this pool comes first.
        blocked = self._blocked[lane.quick]
        while lane.waiting and len(lane.started) < lane.cap and not blocked and self._place(lane.quick):
            self._start(lane, at, clock, start)
        if lane.waiting and len(lane.started) < lane.cap:
            blocked.setdefault(lane.address, lane)

    def _unblock(self, at: datetime, clock: float, start: list[Leased]) -> None:
        for quick, blocked in self._blocked.items():
            while blocked and self._place(quick):
                address, lane = blocked.popitem(last=False)
                if lane.waiting and len(lane.started) < lane.cap:
                    self._start(lane, at, clock, start)
                    blocked[address] = lane  # in turn, one each

    def _start(self, lane: Lane, at: datetime, clock: float, start: list[Leased]) -> None:
        leased = lane.waiting.popleft()
        self._waiting[lane.quick] -= 1
        if leased.start_by < at:
            self.stale.append(leased)
            return
        lane.started[leased.delivery.delivery_id] = clock
        self._trying[lane.quick] += 1
        start.append(leased)

    def _place(self, quick: bool) -> bool:
        if quick:
            # Places that addresses hold which have become slow are made up for; three times is the end of it.
            most = max(self._limits.total - self._trying[False], self._limits.total - self._limits.slow)
            return self._trying[True] < most and self.trying < 3 * self._limits.total
        return self._trying[False] < self._limits.slow and self.trying < self._limits.total

    def _forget(self) -> None:
        if len(self._lanes) <= _REMEMBERED:
            return
        for address, lane in list(self._lanes.items())[: _REMEMBERED // 2]:
            if not lane.waiting and not lane.started:
                del self._lanes[address]
