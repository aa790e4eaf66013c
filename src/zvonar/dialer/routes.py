"""Over which trunk may the next leg go, and when? Priority, channels and pace; campaigns take turns by their weights.

This paces ahead of the guard that stands in the placing statement itself, so that the guard seldom refuses.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Set

from msgspec import Struct

from zvonar.core import pool as pools
from zvonar.core.errors import ZvonarError
from zvonar.core.pacing import Pacer
from zvonar.core.share import Share
from zvonar.dialer import meters
from zvonar.store.calls import Leased
from zvonar.store.trunks import Trunk


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

    def renewed(self, trunk: Trunk) -> None:
        """Take new settings without forgetting what is in use."""
        if trunk.calls_per_second != self.trunk.calls_per_second:
            self.pacer = _pacer(trunk, slot=self.pacer.slot)
        self.trunk = trunk


def _pacer(trunk: Trunk, *, slot: float = float("-inf")) -> Pacer:
    """The trunk's pace. What a late timer missed within a twentieth of a second is caught up with."""
    rate = float(trunk.calls_per_second)
    return Pacer(per_second=rate, burst=1 + int(rate * 0.05), slot=slot)


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
            del self._routes[gone]
        self._serve()

    def weigh(self, weights: Mapping[int, int]) -> None:
        """Take the campaigns' weights as they are now."""
        self._weights = weights

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
        self._waiting.setdefault(kind, deque()).append(granted)
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
            meters.channels.labels(route.trunk.name).set(route.in_use)
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
        meters.channels.labels(route.trunk.name).set(route.in_use)
        self._serve()

    def _serve(self) -> None:
        """Grant slots to those who wait, by turns; those who cannot go yet do not hold up the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Which trunks are known to be exhausted for this round, and for how long.
        spent: dict[int, float] = {}
        choices: dict[_Kind, list[Route]] = {}
        for kind, queue in list(self._waiting.items()):
            choices[kind] = self._choices(kind)
            if not choices[kind]:
                _tell(queue, NoRoute())
        while (turn := self._turn(choices, spent, now)) is not None:
            kind, route = turn
            route.pacer.take(now)
            route.share.took(kind.campaign_id, self._weights.get(kind.campaign_id, 1))
            route.in_use += 1
            meters.channels.labels(route.trunk.name).set(route.in_use)
            self._waiting[kind].popleft().set_result(route)
        soonest = min(
            (spent[route.trunk.trunk_id] for kind in self._waiting for route in choices[kind]),
            default=float("inf"),
        )
        if soonest < float("inf"):
            self._timer = loop.call_at(now + soonest, self._serve)

    def _turn(
        self, choices: Mapping[_Kind, list[Route]], spent: dict[int, float], now: float
    ) -> tuple[_Kind, Route] | None:
        """Who goes next over which trunk; None where nobody can."""
        best: tuple[_Kind, Route] | None = None
        for kind in list(self._waiting):
            queue = self._waiting[kind]
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                del self._waiting[kind]
                continue
            route = _free(choices[kind], spent, now)
            if route is None:
                continue
            # Each trunk has turns of its own, so whoever wants another one is looked at after this.
            if best is None or (
                best[1] is route
                and route.share.turn(kind.campaign_id) < route.share.turn(best[0].campaign_id)
            ):
                best = (kind, route)
        return best


def _free(routes: Iterable[Route], spent: dict[int, float], now: float) -> Route | None:
    """The first of these trunks that takes a placement now; `spent` learns of those that do not."""
    for route in routes:
        trunk_id = route.trunk.trunk_id
        if trunk_id in spent:
            continue
        delay = route.pacer.delay(now) if route.in_use < route.trunk.max_channels else float("inf")
        if delay <= 0:
            return route
        spent[trunk_id] = delay
    return None


def _tell(queue: Iterable[asyncio.Future[Route]], error: Exception) -> None:
    for granted in queue:
        if not granted.done():
            granted.set_exception(error)
