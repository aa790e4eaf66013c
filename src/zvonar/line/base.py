"""What does a line do alike on every gateway? What happens on it is kept, and wakes whoever waits for it."""

import asyncio
from collections import deque
from datetime import datetime

from zvonar.line.line import HungUp, LineEnd

MOST = 200  # keys that are kept for whoever asks for them; nobody types ahead that far by hand
KEY, RANG, ANSWERED = "key", "rang", "answered"  # what whoever waits may be stirred by, beside the end


class BaseLine:
    """Ringing comes by `rings`, the answer by `_picked_up`, keys by `_press`, the end by `_over`."""

    def __init__(self) -> None:
        self.answered_at: datetime | None = None
        self.ended: LineEnd | None = None
        self._has_rung = False
        self._keys: deque[str] = deque()
        self._waiting: list[tuple[asyncio.Future[bool], tuple[str, ...]]] = []

    def rings(self) -> None:
        """It rings at the callee."""
        self._has_rung = True
        self._stir(RANG)

    def _picked_up(self, at: datetime) -> None:
        self.answered_at = at
        self._stir(ANSWERED)

    def _press(self, key: str) -> None:
        if len(self._keys) < MOST:
            self._keys.append(key)
            self._stir(KEY)

    def _over(self, end: LineEnd) -> None:
        self.ended = end
        self._stir(None)

    def _stir(self, what: str | None) -> None:
        """Wake those who wait for this; None: all of them, because it is over."""
        for woken, wanted in self._waiting:
            if (what is None or what in wanted) and not woken.done():
                woken.set_result(True)

    async def _stirred(self, seconds: float | None, *what: str) -> bool:
        """Wait until the line ends, one of these happens, or the time is up; False for the last.

        A future of one's own, woken by what happens: a wait for several of others' would take three turns of the loop.
        """
        if self.ended is not None:
            return True
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        timer = None if seconds is None else loop.call_later(max(0.0, seconds), _time_is_up, woken)
        waits = (woken, what)
        self._waiting.append(waits)
        try:
            return await woken
        finally:
            self._waiting.remove(waits)
            if timer is not None:
                timer.cancel()

    async def ringing(self) -> None:
        while not self._has_rung and self.answered_at is None:
            self._check()
            await self._stirred(None, RANG, ANSWERED)

    async def answered(self) -> datetime:
        while self.answered_at is None:
            self._check()
            await self._stirred(None, ANSWERED)
        return self.answered_at

    async def end(self) -> LineEnd:
        while self.ended is None:
            await self._stirred(None)
        return self.ended

    async def key(self, timeout: float) -> str | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while not self._keys:
            self._check()
            if not await self._stirred(until - loop.time(), KEY):
                break
        if self._keys:  # also those of the very moment in which the line ended or time was up
            return self._keys.popleft()
        self._check()
        return None

    async def digits(self, *, count: int, timeout: float, between: float, terminator: str = "#") -> str:
        collected = ""
        while len(collected) < count:
            key = await self.key(between if collected else timeout)
            if key is None or key == terminator:
                break
            collected += key
        return collected

    def _check(self) -> None:
        if self.ended is not None:
            raise HungUp(self.ended)


def _time_is_up(woken: asyncio.Future[bool]) -> None:
    if not woken.done():
        woken.set_result(False)
