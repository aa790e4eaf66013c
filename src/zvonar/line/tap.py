"""What does a subscriber sound like while a script goes on? A protocol; the one of Asterisk behind it."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from zvonar.core.leg import Leg

RATE: Final = 8000  # samples a second
FRAME_MS: Final = 20
FRAME: Final = RATE * FRAME_MS // 1000 * 2  # bytes of a frame: signed 16-bit little-endian, mono


class Tap(Protocol):
    """The sound of one subscriber, as it comes."""

    async def frame(self) -> bytes:
        """The next 20 ms. What nobody takes for ten seconds is lost, the oldest first."""


class Tapping(Protocol):
    """Something that can listen in on lines."""

    def tap(self, leg: Leg) -> AbstractAsyncContextManager[Tap]:
        """Listen to the subscriber of a leg that is up. Raises GatewayRefused, GatewayLost, GatewayInDoubt."""
