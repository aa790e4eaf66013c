"""What happened just now? Facts are gathered for a moment, so that one commit serves many."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Fact = TypeVar("Fact")

MOST = 100  # facts of one commit


class Gathering(Generic[Fact]):
    """Facts on their way to the store. Those of one key go together."""

    def __init__(self, commit: Callable[[Sequence[Fact]], Awaitable[object]], *, seconds: float) -> None:
        self._commit = commit
        self._seconds = seconds  # for which facts are gathered
        self._gathered: dict[Hashable, list[tuple[Fact, asyncio.Future[None]]]] = {}
        self._flights: set[asyncio.Task[None]] = set()

    async def add(self, fact: Fact, *, key: Hashable = None) -> None:
        """Returns once it is committed. Raises what `commit` raised for it."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gathered = self._gathered.setdefault(key, [])
        gathered.append((fact, heard))
        if len(gathered) == 1:
            # The flight belongs to all whose facts it carries: one who is given up must not take it along.
            flight = asyncio.create_task(self._fly(key), name="gathering")
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
        await heard

    async def _fly(self, key: Hashable) -> None:
        await asyncio.sleep(self._seconds)
        gathered = self._gathered.pop(key)
        for start in range(0, len(gathered), MOST):
            await self._carry(gathered[start : start + MOST])

    async def _carry(self, facts: Sequence[tuple[Fact, "asyncio.Future[None]"]]) -> None:
        try:
            await self._commit([fact for fact, _ in facts])
        except Exception as exc:
            if len(facts) > 1:  # one of them spoils it for the others
                for fact in facts:
                    await self._carry([fact])
                return
            ((_, heard),) = facts
            if not heard.done():
                heard.set_exception(exc)
            return
        for _, heard in facts:
            if not heard.done():
                heard.set_result(None)
