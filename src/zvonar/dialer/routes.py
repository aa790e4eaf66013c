"""Over which trunk may the next leg go, and when? Priority, channels and pace; campaigns take turns by their weights.

This paces ahead of the guard that stands in the placing statement itself, so that the guard seldom refuses.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Set

from msgspec import Struct

from zvonar.core import pool as pools
from zvonar.core.errors import ZvonarError
from zvonar.core.pacing import Pacer
from zvonar.core.share import Share
from zvonar.dialer import meters
from zvonar.store.calls import Leased
from zvonar.store.trunks import Trunk

_TICK = 0.001  # seconds to which timers are exact
_LATE = 0.05  # seconds by which a timer may be late without costing a placement
_TOGETHER = 0.07  # seconds by which a placement may be early, so that it goes with the one before it


class NoRoute(ZvonarError):
    """No trunk may carry this number."""


class Draining(ZvonarError):
    """No new attempt is made any more."""


class NoCallerId(ZvonarError):
    """No number of the pool ends as it should."""


class OwnNumber(ZvonarError):
    """The only number to show is the callee's own."""


class Route:
    """A trunk as this dialer uses it."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.pacer = _pacer(trunk)
        self.share = Share()
        self.in_use = 0
        self._next_caller_id = 0

    def caller_id(
        self, pool: tuple[str, ...], *, but: str | None = None, ending: str | None = None
    ) -> str | None:
        """The next number to show: of the campaign's pool, else of the trunk's; None where there are none at all.

        `but`: the callee's own number, which is never shown. `ending`: the digits that it must end with. Raises
        NoCallerId, OwnNumber.
        """
        numbers = pool or tuple(self.trunk.caller_ids)
        self._next_caller_id += 1
        if ending is not None:
            found = pools.ending(numbers, ending, self._next_caller_id)
            if found is None:
                raise NoCallerId()
            if found == but:
                raise OwnNumber()
            return found
        if not numbers:
            return None
        shown = pools.shown(numbers, self._next_caller_id, but=but or "")
        if shown is None:
            raise OwnNumber()
        return shown

    @property
    def full(self) -> bool:
        """Whether its last channel is in use."""
        return self.in_use >= self.trunk.max_channels

    def renewed(self, trunk: Trunk) -> None:
        """Take new settings without forgetting what is in use."""
        if trunk.calls_per_second != self.trunk.calls_per_second:
            self.pacer = _pacer(trunk, slot=self.pacer.slot)
        self.trunk = trunk


def _pacer(trunk: Trunk, *, slot: float = float("-inf")) -> Pacer:
    """The trunk's pace. What is due within a moment goes together: it costs little more than one of them."""
    rate = float(trunk.calls_per_second)
    return Pacer(per_second=rate, burst=1 + int(rate * _TOGETHER), slot=slot)


class _Kind(Struct, frozen=True):
    """What all those have in common who may go over the same trunks, first come first served among themselves."""

    campaign_id: int
    account_id: int
    trial: bool
    tried: frozenset[int]


class Routes:
    """All trunks of one gateway."""

    def __init__(self) -> None:
        self._routes: dict[int, Route] = {}
        self._waiting: dict[_Kind, deque[asyncio.Future[Route]]] = {}
        self._weights: Mapping[int, int] = {}  # of campaigns; 1 unless known
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # loop time for which it was set
        self._closed = False

    def renew(self, trunks: Iterable[Trunk]) -> None:
        """Take the trunks as the store has them now."""
        seen = set()
        for trunk in trunks:
            seen.add(trunk.trunk_id)
            if trunk.trunk_id in self._routes:
                self._routes[trunk.trunk_id].renewed(trunk)
            else:
                self._routes[trunk.trunk_id] = Route(trunk)
        for gone in set(self._routes) - seen:
            meters.channels.labels(self._routes.pop(gone).trunk.name).set(0)
        self._serve()

    def weigh(self, weights: Mapping[int, int]) -> None:
        """Take the campaigns' weights as they are now."""
        self._weights = weights

    def tell(self) -> None:
        """Let the meters know how many channels are in use: at every change it would cost more than it is worth."""
        for route in self._routes.values():
            meters.channels.labels(route.trunk.name).set(route.in_use)

    @property
    def free(self) -> int:
        """Channels that are free over all trunks, less those who wait for one."""
        free = sum(
            max(0, route.trunk.max_channels - route.in_use)
            for route in self._routes.values()
            if route.trunk.enabled
        )
        return max(0, free - sum(map(len, self._waiting.values())))

    @property
    def per_second(self) -> float | None:
        """How many placements a second all trunks take; None without a limit."""
        rates = [route.pacer.per_second for route in self._routes.values() if route.trunk.enabled]
        return None if any(rate <= 0 for rate in rates) else sum(rates)

    def _choices(self, kind: _Kind) -> list[Route]:
        """Trunks that may carry such calls at all, first choice first."""
        return sorted(
            (
                route
                for route in self._routes.values()
                if route.trunk.enabled
                and route.trunk.trunk_id not in kind.tried
                and route.trunk.trial == kind.trial
                and route.trunk.account_id in (None, kind.account_id)
            ),
            key=lambda route: (route.trunk.priority, route.trunk.trunk_id),
        )

    async def slot(self, call: Leased, *, tried: Set[int] = frozenset(), going_on: bool = False) -> Route:
        """Wait for a channel and a placement of a trunk; give it back with `release`. Raises NoRoute, Draining.

        `tried`: trunks that an attempt has been on already; it may go on even when no new one may begin. `going_on`:
        likewise, over any trunk.
        """
        if going_on:
            tried = tried | {0}  # which no trunk is called
        if self._closed and not tried:
            raise Draining()
        kind = _Kind(call.campaign_id, call.account_id, call.trial, frozenset(tried))
        if not self._choices(kind):
            raise NoRoute()
        granted: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(kind, deque())
        queue.append(granted)
        # Whoever comes behind another has to wait for the timer as well.
        if len(queue) == 1 or self._timer is None:
            self._serve()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self.release(granted.result())
            raise

    def adopt(self, trunk_id: int) -> Route | None:
        """Take a channel for a line that is up already, whatever the limits say; None: not our trunk any more."""
        route = self._routes.get(trunk_id)
        if route is not None:
            route.in_use += 1
        return route

    def close(self) -> None:
        """Grant nothing to new attempts any more; whoever waits for one is told."""
        self._closed = True
        for kind, queue in self._waiting.items():
            if not kind.tried:
                _tell(queue, Draining())

    def release(self, route: Route) -> None:
        """The channel is free again."""
        route.in_use -= 1
        # A trunk that had channels left gets nobody sooner because of one more.
        if self._waiting and (self._timer is None or route.in_use + 1 >= route.trunk.max_channels):
            self._serve()

    def _serve(self) -> None:
        """Grant slots to those who wait, by turns; those who cannot go yet do not hold up the others."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is not None:
            if self._due < now:  # what a late timer missed is caught up with
                now = max(self._due, now - _LATE)
            self._timer.cancel()
            self._timer = None
        look = _Look(now)
        for kind, queue in list(self._waiting.items()):
            live = deque(granted for granted in queue if not granted.done())
            choices = self._choices(kind)
            if live and choices:
                self._waiting[kind] = live
                look.add(kind, len(live), choices)
            else:
                _tell(live, NoRoute())
                del self._waiting[kind]
        while (turn := self._turn(look)) is not None:
            kind, route = turn
            look.went(kind, route)
            route.pacer.take(now)
            route.share.took(kind.campaign_id, self._weights.get(kind.campaign_id, 1))
            route.in_use += 1
            queue = self._waiting[kind]
            queue.popleft().set_result(route)
            if not queue:
                del self._waiting[kind]
        soonest = look.soonest(self._waiting)
        if soonest < float("inf"):
            # Not before it is due: some loops know but whole milliseconds, and would ask again and again.
            self._due = now + soonest
            self._timer = loop.call_later(max(_TICK, self._due - loop.time() + _TICK), self._serve)

    def _turn(self, look: "_Look") -> tuple[_Kind, Route] | None:
        """Who goes next over which trunk; None where nobody can."""
        best: tuple[_Kind, Route] | None = None
        for kind in self._waiting:
            route = look.free(kind)
            if route is None:
                continue
            # Each trunk has turns of its own, so whoever wants another one is looked at after this.
            if best is None or (
                best[1] is route
                and route.share.turn(kind.campaign_id) < route.share.turn(best[0].campaign_id)
            ):
                best = (kind, route)
        return best


class _Look:
    """One look at which trunk takes whose call at this moment."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._choices: dict[_Kind, list[Route]] = {}
        self._at_once: Counter[Route] = Counter()  # how many wait for each
        self._spent: dict[Route, float] = {}  # those that take nobody, and for how long
        self._gathering: set[Route] = set()  # of these, such as could take one, and wait for more
        self._going: set[Route] = set()  # those that take somebody

    def add(self, kind: _Kind, waiting: int, choices: list[Route]) -> None:
        """So many wait for one of these trunks, the first choice first."""
        self._choices[kind] = choices
        for route in choices:
            self._at_once[route] += waiting

    def went(self, kind: _Kind, route: Route) -> None:
        """One of them goes over this trunk."""
        self._going.add(route)
        for choice in self._choices[kind]:
            self._at_once[choice] -= 1

    def free(self, kind: _Kind) -> Route | None:
        """The first of their trunks that takes a call. For one that is about to nobody goes over the next."""
        for route in self._choices[kind]:
            if route not in self._spent:
                delay = self._delay(route)
                if delay <= 0 or (route in self._going and self._takes_one(route)):
                    return route
                self._spent[route] = delay
                if self._takes_one(route):
                    self._gathering.add(route)
            if route in self._gathering:
                return None
        return None

    def _delay(self, route: Route) -> float:
        """Seconds until it takes as many of those who wait as may go together."""
        left = route.trunk.max_channels - route.in_use
        if left <= 0:
            return float("inf")
        return route.pacer.delay(self._now, together=min(self._at_once[route], left))

    def _takes_one(self, route: Route) -> bool:
        return not route.full and route.pacer.delay(self._now) <= 0

    def soonest(self, kinds: Iterable[_Kind]) -> float:
        """Seconds until a trunk of theirs takes somebody again, as far as that is a matter of time."""
        return min(
            (self._spent[route] for kind in kinds for route in self._choices[kind] if route in self._spent),
            default=float("inf"),
        )


def _tell(queue: Iterable[asyncio.Future[Route]], error: Exception) -> None:
    for granted in queue:
        if not granted.done():
            granted.set_exception(error)
