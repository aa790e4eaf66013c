"""What happened just now? Facts are gathered for a moment, so that one commit serves many."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from zvonar.store.db import StoreUnavailable

Fact = TypeVar("Fact")
Answer = TypeVar("Answer")

MOST = 100  # facts of one commit


class Gathering(Generic[Fact, Answer]):
    """Facts on their way to the store, which has an answer to each. Those of one key go together."""

    def __init__(
        self,
        commit: Callable[[Sequence[Fact]], Awaitable[Sequence[Answer]]],
        *,
        seconds: Callable[[], float],
        wishes: bool = False,
    ) -> None:
        """`commit`: answers each fact, in their order. `seconds`: for which they are gathered from now on; 0 for what
        comes at the same moment. `wishes`: they are none any more once whoever had them has been given up.
        """
        self._wishes = wishes
        self._commit = commit
        self._seconds = seconds
        self._gathered: dict[Hashable, list[tuple[Fact, asyncio.Future[Answer]]]] = {}
        self._timers: dict[Hashable, asyncio.Handle] = {}  # that carry away what is gathered
        self._flights: set[asyncio.Task[None]] = set()

    async def add(self, fact: Fact, *, key: Hashable = None, of: int | None = None) -> Answer:
        """The answer, once it is committed. Raises what `commit` raised for it.

        `of`: how many facts of this key there are to be; the last of them waits for no other.
        """
        return await self.put(fact, key=key, of=of)

    def put(self, fact: Fact, *, key: Hashable = None, of: int | None = None) -> "asyncio.Future[Answer]":
        """What `add` waits for, for whoever has something else to do meanwhile. It is the caller's own."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Answer] = loop.create_future()
        gathered = self._gathered.setdefault(key, [])
        gathered.append((fact, heard))
        if len(gathered) == of:
            self._depart(key)
        elif len(gathered) == 1:
            # Without patience it departs as soon as all who are awake now have had their turn.
            self._timers[key] = loop.call_later(self._seconds(), self._depart, key)
        return heard

    def _depart(self, key: Hashable) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        # The flight belongs to all whose facts it carries: one who is given up must not take it along.
        flight = asyncio.create_task(self._fly(self._gathered.pop(key)), name="gathering")
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)

    async def _fly(self, gathered: Sequence[tuple[Fact, "asyncio.Future[Answer]"]]) -> None:
        facts = [fact for fact in gathered if not (self._wishes and fact[1].cancelled())]
        for start in range(0, len(facts), MOST):
            await self._carry(facts[start : start + MOST])

    async def _carry(self, facts: Sequence[tuple[Fact, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._commit([fact for fact, _ in facts])
        except StoreUnavailable as exc:  # for all of them
            for _, heard in facts:
                if not heard.done():
                    heard.set_exception(exc)
            return
        except Exception as exc:
            if len(facts) > 1:  # one of them spoils it for the others
                for fact in facts:
                    await self._carry([fact])
                return
            ((_, heard),) = facts
            if not heard.done():
                heard.set_exception(exc)
            return
        for (_, heard), answer in zip(facts, answers, strict=True):
            if not heard.done():
                heard.set_result(answer)
