"""Over which trunk may the next leg go, and when? Priority, channels and pace, first come first served.

This paces ahead of the guard that stands in the placing statement itself, so that the guard seldom refuses.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Set

from zvonar.core import pool as pools
from zvonar.core.errors import ZvonarError
from zvonar.core.pacing import Pacer
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


class Routes:
    """All trunks of one gateway."""

    def __init__(self) -> None:
        self._routes: dict[int, Route] = {}
        self._waiting: deque[tuple[asyncio.Future[Route], Leased, Set[int]]] = deque()
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

    @property
    def free(self) -> int:
        """Channels that are free over all trunks, less those who wait for one."""
        free = sum(
            max(0, route.trunk.max_channels - route.in_use)
            for route in self._routes.values()
            if route.trunk.enabled
        )
        return max(0, free - len(self._waiting))

    @property
    def per_second(self) -> float | None:
        """How many placements a second all trunks take; None without a limit."""
        rates = [route.pacer.per_second for route in self._routes.values() if route.trunk.enabled]
        return None if any(rate <= 0 for rate in rates) else sum(rates)

    def choices(self, call: Leased, *, tried: Set[int] = frozenset()) -> list[Route]:
        """Trunks that may carry this call at all, first choice first."""
        return sorted(
            (
                route
                for route in self._routes.values()
                if route.trunk.enabled
                and route.trunk.trunk_id not in tried
                and route.trunk.trial == call.trial
                and route.trunk.account_id in (None, call.account_id)
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
        if not self.choices(call, tried=tried):
            raise NoRoute()
        granted: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
        self._waiting.append((granted, call, tried))
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
        for granted, _, tried in self._waiting:
            if not tried and not granted.done():
                granted.set_exception(Draining())

    def release(self, route: Route) -> None:
        """The channel is free again."""
        route.in_use -= 1
        meters.channels.labels(route.trunk.name).set(route.in_use)
        self._serve()

    def _serve(self) -> None:
        """Grant slots to those who wait, in their order; those who cannot go yet do not hold up the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        still: deque[tuple[asyncio.Future[Route], Leased, Set[int]]] = deque()
        soonest = float("inf")
        # Which trunks are known to be exhausted for this round: most waiters want the same one.
        spent: dict[int, float] = {}
        while self._waiting:
            granted, call, tried = waiter = self._waiting.popleft()
            if granted.done():
                continue
            choices = self.choices(call, tried=tried)
            if not choices:
                granted.set_exception(NoRoute())
                continue
            for route in choices:
                trunk_id = route.trunk.trunk_id
                if trunk_id in spent:
                    continue
                delay = route.pacer.delay(now) if route.in_use < route.trunk.max_channels else float("inf")
                if delay > 0:
                    spent[trunk_id] = delay
                    continue
                route.pacer.take(now)
                route.in_use += 1
                meters.channels.labels(route.trunk.name).set(route.in_use)
                granted.set_result(route)
                break
            else:
                soonest = min(soonest, *(spent[route.trunk.trunk_id] for route in choices))
                still.append(waiter)
                if len(spent) == len(self._routes):
                    still.extend(self._waiting)
                    self._waiting.clear()
        self._waiting = still
        if still and soonest < float("inf"):
            self._timer = loop.call_at(now + soonest, self._serve)
