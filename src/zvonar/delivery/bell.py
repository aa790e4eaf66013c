"""Is there something to do? Rung by whoever made work, heard by the loop that does it."""

import asyncio


class Bell:
    """Rings until it is heard; ringing twice before that is ringing once."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """There is work. From the loop's own thread."""
        self._rung.set()

    async def heard(self, timeout: float) -> None:
        """Return when it has rung, and after `timeout` seconds anyway: a ring elsewhere may have been missed."""
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            pass
        # Before the work, so that a ring during it is not lost.
        self._rung.clear()


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
