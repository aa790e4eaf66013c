"""What has the subscriber pressed? Keys in their order, waited for until the line ends."""

import asyncio
from typing import Any

from zvonar.line.line import HungUp, LineEnd

MOST = 200  # keys that are kept for whoever asks for them; nobody types ahead that far by hand


class Keypad:
    """The half of a line that every gateway does alike: keys come by `_press`, the end by `_end`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended: LineEnd | None = None
        self._end: asyncio.Future[LineEnd] = loop.create_future()
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    def _press(self, key: str) -> None:
        if self._keys.qsize() < MOST:
            self._keys.put_nowait(key)

    async def end(self) -> LineEnd:
        return await asyncio.shield(self._end)

    async def key(self, timeout: float) -> str | None:
        if not self._keys.empty():
            return self._keys.get_nowait()
        self._check()
        pressed = asyncio.create_task(self._keys.get())
        try:
            either: set[asyncio.Future[Any]] = {pressed, self._end}
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if pressed.done():
                return pressed.result()
            if not self._keys.empty():
                # Pressed in the same moment in which the line ended or time was up.
                return self._keys.get_nowait()
            self._check()
            return None
        finally:
            pressed.cancel()

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
